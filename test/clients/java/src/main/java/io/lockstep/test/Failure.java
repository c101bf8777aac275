package io.lockstep.test;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.hadoop.ipc.RemoteException;

/** An exception as clients test for it: by class name; the message is cut at its first line. */
final class Failure {
  private Failure() {}

  static Map<String, Object> of(Throwable failure) {
    Map<String, Object> fields = new LinkedHashMap<>();
    String name = failure.getClass().getName();
    if (failure instanceof RemoteException) {
      name = ((RemoteException) failure).getClassName();
      fields.put("remote", true);
    }
    fields.put("error", name);
    fields.put("message", String.valueOf(failure.getMessage()).split("\n", 2)[0]);
    StringWriter stack = new StringWriter();
    failure.printStackTrace(new PrintWriter(stack));
    fields.put("stack", stack.toString());
    return fields;
  }
}
