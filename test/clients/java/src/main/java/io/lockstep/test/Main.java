package io.lockstep.test;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;

/**
 * Runs stock Hadoop client code against a running store. Starting a JVM costs seconds, so one JVM
 * serves many requests.
 *
 * <p>Usage: {@code Main FILE_SYSTEM_URI [property=value ...]}. Each line of standard input is a
 * request: words separated by blanks, each percent-encoded; the first says what to run:
 *
 * <ul>
 *   <li>{@code shell ARG...}: Hadoop's FsShell ({@code hdfs dfs ARG...})
 *   <li>{@code allow-snapshot PATH}: what {@code hdfs dfsadmin -allowSnapshot} calls
 *   <li>{@code snapshot-diff PATH FROM TO}: what {@code hdfs snapshotDiff} calls
 *   <li>{@code scenario DIRECTORY [STEP...]}: {@link Scenario}
 *   <li>{@code throughput PATH BYTES}: {@link Throughput}
 * </ul>
 *
 * Answers are lines of JSON on standard output; the last one of a request has {@code "done": true}.
 */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments.length < 1) {
      System.err.println("usage: Main FILE_SYSTEM_URI [property=value ...]");
      System.exit(2);
    }
    Configuration configuration = new Configuration();
    configuration.set("fs.defaultFS", arguments[0]);
    for (int i = 1; i < arguments.length; i++) {
      int equals = arguments[i].indexOf('=');
      configuration.set(arguments[i].substring(0, equals), arguments[i].substring(equals + 1));
    }
    serve(configuration);
  }

  private static void serve(Configuration configuration) throws Exception {
    PrintStream answers = new PrintStream(System.out, true, "UTF-8");
    BufferedReader requests =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = requests.readLine(); line != null; line = requests.readLine()) {
      String[] words = line.split(" ", -1);
      for (int i = 0; i < words.length; i++) {
        words[i] = URLDecoder.decode(words[i], "UTF-8");
      }
      Map<String, Object> last;
      try {
        last = run(configuration, words, answers);
      } catch (Exception | LinkageError e) {
        last = Failure.of(e);
      }
      last.put("done", true);
      answers.println(Json.of(last));
    }
  }

  private static Map<String, Object> run(
      Configuration configuration, String[] words, PrintStream answers) throws Exception {
    String[] rest = Arrays.copyOfRange(words, 1, words.length);
    switch (words[0]) {
      case "shell":
        return Shell.run(configuration, rest);
      case "allow-snapshot":
        return Snapshots.allow(configuration, rest[0]);
      case "snapshot-diff":
        return Snapshots.diff(configuration, rest[0], rest[1], rest[2]);
      case "scenario":
        new Scenario(configuration, rest, answers).run();
        return new LinkedHashMap<>();
      case "throughput":
        return Throughput.run(configuration, rest[0], Long.parseLong(rest[1]));
      default:
        throw new IllegalArgumentException("no such request: " + words[0]);
    }
  }
}
