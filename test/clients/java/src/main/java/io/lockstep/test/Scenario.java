package io.lockstep.test;

import java.io.PrintStream;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;

/**
 * A script of calls of Hadoop's FileSystem API in one directory. Each step prints one line: its name,
 * and either what it found or the exception it ended with. What is right is decided by the reader of
 * the lines, so that the same script can be run against any HDFS.
 */
final class Scenario {
  /** One step: calls in, findings out. */
  interface Step {
    Object run() throws Exception;
  }

  private final Configuration configuration;
  private final Path directory;
  private final Set<String> wanted;
  private final PrintStream answers;
  private final Map<String, Step> steps = new LinkedHashMap<>();

  /** {@code words}: the directory, then the names of the steps to run (none: all). */
  Scenario(Configuration configuration, String[] words, PrintStream answers) {
    this.configuration = configuration;
    this.directory = new Path(words[0]);
    this.wanted = new TreeSet<>(Arrays.asList(words).subList(1, words.length));
    this.answers = answers;
  }

  void run() throws Exception {
    DistributedFileSystem fs = (DistributedFileSystem) FileSystem.get(configuration);
    fs.mkdirs(directory);
    new FileSteps(configuration, fs, directory).addTo(steps);
    new NamespaceSteps(fs, directory).addTo(steps);
    new SnapshotSteps(configuration, fs, directory).addTo(steps);
    new ErrorSteps(configuration, fs, directory).addTo(steps);
    for (Map.Entry<String, Step> step : steps.entrySet()) {
      if (wanted.isEmpty() || wanted.contains(step.getKey())) {
        answers.println(Json.of(report(step.getKey(), step.getValue())));
      }
    }
  }

  private static Map<String, Object> report(String name, Step step) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("step", name);
    long start = System.nanoTime();
    try {
      line.put("value", step.run());
    } catch (Exception | AssertionError e) {
      line.putAll(Failure.of(e));
    }
    line.put("milliseconds", (System.nanoTime() - start) / 1_000_000);
    return line;
  }
}
