package io.lockstep.test;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.util.ToolRunner;

/** One run of Hadoop's FsShell, with what it printed and its exit status. */
final class Shell {
  private Shell() {}

  static Map<String, Object> run(Configuration configuration, String[] arguments)
      throws Exception {
    Capture out = new Capture();
    Capture err = new Capture();
    PrintStream oldOut = System.out;
    PrintStream oldErr = System.err;
    System.setOut(new PrintStream(out, true, "UTF-8"));
    System.setErr(new PrintStream(err, true, "UTF-8"));
    int status;
    try {
      status = ToolRunner.run(new FsShell(new Configuration(configuration)), arguments);
    } finally {
      System.out.flush();
      System.setOut(oldOut);
      System.setErr(oldErr);
    }
    Map<String, Object> result = new LinkedHashMap<>();
    result.put("exit", status);
    result.put("stdoutBytes", out.length());
    result.put("stdoutSha256", out.sha256());
    result.put("stdout", new String(out.head(), StandardCharsets.UTF_8));
    result.put("stderr", new String(err.head(), StandardCharsets.UTF_8));
    return result;
  }
}
