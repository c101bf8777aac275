package io.lockstep.test;

import java.io.IOException;
import java.security.PrivilegedExceptionAction;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Options;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.security.UserGroupInformation;

/** Calls that must fail, each with the exception class that clients test for. */
final class ErrorSteps {
  private final Configuration configuration;
  private final DistributedFileSystem fs;
  private final Path directory;

  ErrorSteps(Configuration configuration, DistributedFileSystem fs, Path directory) {
    this.configuration = configuration;
    this.fs = fs;
    this.directory = new Path(directory, "errors");
  }

  void addTo(Map<String, Scenario.Step> steps) {
    steps.put("error-prepare", this::prepare);
    steps.put("error-open-missing", () -> fs.open(path("missing")));
    steps.put("error-stat-missing", () -> fs.getFileStatus(path("missing")));
    steps.put("error-list-missing", () -> fs.listStatus(path("missing")));
    steps.put("error-open-directory", () -> fs.open(path("full")));
    steps.put("error-create-exists", () -> fs.create(path("file"), false));
    steps.put("error-create-directory", () -> fs.create(path("full"), true));
    steps.put("error-mkdir-file", () -> fs.mkdirs(path("file")));
    steps.put("error-mkdir-below-file", () -> fs.mkdirs(path("file/x")));
    steps.put("error-delete-full", () -> fs.delete(path("full"), false));
    steps.put("error-append-missing", () -> fs.append(path("missing")));
    steps.put("error-rename2-missing", () -> rename(path("missing"), path("x")));
    steps.put("error-rename2-exists", () -> rename(path("file"), path("file2")));
    steps.put("error-rename2-full", () -> renameOverwrite(path("full2"), path("full")));
    steps.put("error-rename2-below", () -> rename(path("full"), path("full/x")));
    steps.put("error-lease", this::lease);
    steps.put("error-permission-create", () -> asBob(() -> bob().create(path("bob"))));
    steps.put("error-permission-open", () -> asBob(() -> bob().open(path("secret"))));
    steps.put("error-permission-owner", () -> asBob(this::chmodByStranger));
    steps.put("error-snapshot-write", () -> fs.create(path("kept/.snapshot/s/new")));
    steps.put("error-snapshot-delete", () -> fs.delete(path("kept/.snapshot/s/file"), false));
    steps.put("error-snapshot-exists", () -> fs.createSnapshot(path("kept"), "s"));
    steps.put("error-snapshot-missing", () -> drop("kept", "nothing"));
    steps.put("error-snapshot-holds", () -> fs.delete(path("kept"), true));
    steps.put("error-snapshot-slash", () -> fs.createSnapshot(path("kept"), "a/b"));
    steps.put("error-snapshot-dot", () -> fs.createSnapshot(path("kept"), "."));
    steps.put("error-snapshot-dotdot", () -> fs.createSnapshot(path("kept"), ".."));
    steps.put("error-snapshot-long", () -> fs.createSnapshot(path("kept"), "x".repeat(256)));
    steps.put("error-snapshot-of-file", () -> fs.createSnapshot(path("file"), "s"));
    steps.put("error-reserved-name", () -> fs.mkdirs(path(".snapshot")));
    steps.put("error-name-too-long", () -> fs.mkdirs(path("n".repeat(256))));
    steps.put("error-xattr-missing", () -> fs.getXAttr(path("file"), "user.nothing"));
    steps.put("error-truncate-longer", () -> fs.truncate(path("file"), 1_000_000));
  }

  private Path path(String name) {
    return new Path(directory, name);
  }

  private Object prepare() throws IOException {
    Bytes.write(fs, path("file"), 100);
    Bytes.write(fs, path("file2"), 100);
    Bytes.write(fs, path("full/entry"), 1);
    fs.mkdirs(path("full2"));
    Bytes.write(fs, path("secret"), 10);
    fs.setPermission(path("secret"), new FsPermission((short) 0600));
    Bytes.write(fs, path("kept/file"), 10);
    fs.allowSnapshot(path("kept"));
    fs.createSnapshot(path("kept"), "s");
    return true;
  }

  private Object rename(Path from, Path to) throws IOException {
    fs.rename(from, to, Options.Rename.NONE);
    return true;
  }

  private Object renameOverwrite(Path from, Path to) throws IOException {
    fs.rename(from, to, Options.Rename.OVERWRITE);
    return true;
  }

  private Object drop(String name, String snapshot) throws IOException {
    fs.deleteSnapshot(path(name), snapshot);
    return true;
  }

  /** While one client writes a file, another one may not append to it. */
  private Object lease() throws IOException {
    try (FSDataOutputStream out = fs.create(path("leased"), true);
        FileSystem other = FileSystem.newInstance(configuration)) {
      out.write(1);
      out.hflush();
      other.append(path("leased"));
    }
    return true;
  }

  private FileSystem bob() throws IOException {
    return FileSystem.get(configuration);
  }

  private Object chmodByStranger() throws IOException {
    bob().setPermission(path("file"), new FsPermission((short) 0777));
    return true;
  }

  private Object asBob(PrivilegedExceptionAction<Object> action) throws Exception {
    return UserGroupInformation.createRemoteUser("bob").doAs(action);
  }
}
