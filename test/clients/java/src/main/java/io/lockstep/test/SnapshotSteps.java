package io.lockstep.test;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.protocol.SnapshotDiffReport;
import org.apache.hadoop.hdfs.protocol.SnapshottableDirectoryStatus;

/** Snapshots: taken, listed, read, renamed, compared, dropped. */
final class SnapshotSteps {
  private final Configuration configuration;
  private final DistributedFileSystem fs;
  private final Path directory;

  SnapshotSteps(Configuration configuration, DistributedFileSystem fs, Path directory) {
    this.configuration = configuration;
    this.fs = fs;
    this.directory = new Path(directory, "history");
  }

  void addTo(Map<String, Scenario.Step> steps) {
    steps.put("snapshot-create", this::create);
    steps.put("snapshot-read", this::read);
    steps.put("snapshot-diff", this::diff);
    steps.put("snapshot-diff-now", this::diffNow);
    steps.put("snapshot-rename", this::rename);
    steps.put("snapshot-listing", this::listing);
    steps.put("snapshot-open-file", this::openFile);
    steps.put("snapshot-rename-directory", this::renameDirectory);
    steps.put("snapshot-nested", this::nested);
    steps.put("snapshot-delete", this::delete);
  }

  private Path path(String name) {
    return new Path(directory, name);
  }

  private Object create() throws IOException {
    fs.mkdirs(directory);
    fs.allowSnapshot(directory);
    Bytes.write(fs, path("kept"), 5000);
    Bytes.write(fs, path("changed"), 5000);
    Bytes.write(fs, path("removed"), 5000);
    Bytes.write(fs, path("moved"), 5000);
    fs.mkdirs(path("dir/inner"));
    Bytes.write(fs, path("old-tree/inner/file"), 5);
    Bytes.write(fs, path("moved-tree/inner/file"), 5);
    Bytes.write(fs, path("moved-tree/gone"), 5);
    Path snapshot = fs.createSnapshot(directory, "before");
    return snapshot.toUri().getPath();
  }

  private Object read() throws IOException {
    try (FSDataOutputStream out = fs.append(path("changed"))) {
      out.write(Bytes.range(5000, 77));
    }
    fs.delete(path("removed"), false);
    fs.rename(path("moved"), path("dir/moved-here"));
    Bytes.write(fs, path("added"), 10);
    Bytes.write(fs, path("new-tree/inner/file"), 5);
    fs.delete(path("old-tree"), true);
    fs.rename(path("moved-tree"), path("dir/moved-tree"));
    Bytes.write(fs, path("dir/moved-tree/inner/fresh"), 5);
    Bytes.write(fs, path("dir/moved-tree/inner/file"), 6);
    fs.delete(path("dir/moved-tree/gone"), false);
    fs.setPermission(path("dir/inner"), new FsPermission((short) 0700));
    fs.rename(path("kept"), path("new-tree/kept"));
    fs.createSnapshot(directory, "after");
    String expected = Bytes.sha256(Bytes.range(0, 5000));
    Map<String, Object> value = new LinkedHashMap<>();
    for (String name : new String[] {"kept", "changed", "removed", "moved"}) {
      value.put(name, Bytes.sha256(fs, path(".snapshot/before/" + name)).equals(expected));
    }
    value.put("changedLength", fs.getFileStatus(path(".snapshot/before/changed")).getLen());
    value.put("names", names(path(".snapshot/before")));
    return value;
  }

  private List<String> names(Path parent) throws IOException {
    TreeSet<String> names = new TreeSet<>();
    for (FileStatus status : fs.listStatus(parent)) {
      names.add(status.getPath().getName());
    }
    return new ArrayList<>(names);
  }

  private Object diff() throws IOException {
    SnapshotDiffReport report = fs.getSnapshotDiffReport(directory, "before", "after");
    return new ArrayList<>(new TreeSet<>(Snapshots.entries(report)));
  }

  private Object diffNow() throws IOException {
    Bytes.write(fs, path("latest"), 1);
    SnapshotDiffReport report = fs.getSnapshotDiffReport(directory, "after", "");
    return new ArrayList<>(new TreeSet<>(Snapshots.entries(report)));
  }

  private Object rename() throws IOException {
    fs.renameSnapshot(directory, "after", "later");
    return names(path(".snapshot"));
  }

  private Object listing() throws IOException {
    Map<String, Object> value = new LinkedHashMap<>();
    for (SnapshottableDirectoryStatus status : fs.getSnapshottableDirListing()) {
      if (status.getFullPath().toUri().getPath().equals(directory.toUri().getPath())) {
        value.put("snapshots", status.getSnapshotNumber());
      }
    }
    value.put("names", fs.getSnapshotListing(directory).length);
    return value;
  }

  /** A snapshot of an open file holds what was flushed, and does not grow with the file. */
  private Object openFile() throws IOException {
    Map<String, Object> value = new LinkedHashMap<>();
    Path inSnapshot = path(".snapshot/open/growing");
    try (FSDataOutputStream out = fs.create(path("growing"), true)) {
      out.write(Bytes.range(0, 3000));
      out.hflush();
      fs.createSnapshot(directory, "open");
      out.write(Bytes.range(3000, 100_000));
      out.hflush();
      value.put("whileOpen", fs.getFileStatus(inSnapshot).getLen());
    }
    value.put("closed", fs.getFileStatus(inSnapshot).getLen());
    value.put("live", fs.getFileStatus(path("growing")).getLen());
    value.put("same", Bytes.sha256(fs, inSnapshot).equals(Bytes.sha256(Bytes.range(0, 3000))));
    return value;
  }

  private Object renameDirectory() throws IOException {
    Path elsewhere = new Path(directory.getParent(), "history-renamed");
    boolean done = fs.rename(directory, elsewhere);
    boolean found = fs.exists(new Path(elsewhere, ".snapshot/before/kept"));
    return Arrays.asList(done, found, fs.rename(elsewhere, directory));
  }

  private Object nested() throws IOException {
    Path inner = path("dir");
    fs.allowSnapshot(inner);
    fs.createSnapshot(inner, "nested");
    fs.allowSnapshot(new Path("/"));
    List<String> found = new ArrayList<>();
    for (SnapshottableDirectoryStatus status : fs.getSnapshottableDirListing()) {
      found.add(status.getFullPath().toUri().getPath());
    }
    found.retainAll(Arrays.asList("/", directory.toUri().getPath(), inner.toUri().getPath()));
    fs.disallowSnapshot(new Path("/"));
    fs.deleteSnapshot(inner, "nested");
    fs.disallowSnapshot(inner);
    return new ArrayList<>(new TreeSet<>(found));
  }

  private Object delete() throws IOException {
    for (String name : new String[] {"before", "later", "open"}) {
      fs.deleteSnapshot(directory, name);
    }
    fs.disallowSnapshot(directory);
    return fs.delete(directory, true);
  }
}
