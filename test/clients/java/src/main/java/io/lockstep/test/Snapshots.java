package io.lockstep.test;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.protocol.SnapshotDiffReport;

/** The snapshot calls that FsShell has no command for. */
final class Snapshots {
  private Snapshots() {}

  static Map<String, Object> allow(Configuration configuration, String path) throws IOException {
    ((DistributedFileSystem) FileSystem.get(configuration)).allowSnapshot(new Path(path));
    return new LinkedHashMap<>();
  }

  /** The report, one line per entry in Hadoop's own letters; an empty name is the present. */
  static Map<String, Object> diff(Configuration configuration, String path, String from, String to)
      throws IOException {
    DistributedFileSystem fs = (DistributedFileSystem) FileSystem.get(configuration);
    Map<String, Object> result = new LinkedHashMap<>();
    result.put("entries", entries(fs.getSnapshotDiffReport(new Path(path), from, to)));
    return result;
  }

  static List<String> entries(SnapshotDiffReport report) {
    List<String> lines = new ArrayList<>();
    for (SnapshotDiffReport.DiffReportEntry entry : report.getDiffList()) {
      String line = entry.getType().getLabel() + " " + text(entry.getSourcePath());
      lines.add(entry.getTargetPath() == null ? line : line + " -> " + text(entry.getTargetPath()));
    }
    return lines;
  }

  private static String text(byte[] path) {
    return path.length == 0 ? "." : new String(path, StandardCharsets.UTF_8);
  }
}
