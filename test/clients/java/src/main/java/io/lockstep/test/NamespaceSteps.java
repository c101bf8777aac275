package io.lockstep.test;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.hadoop.fs.ContentSummary;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FsServerDefaults;
import org.apache.hadoop.fs.FsStatus;
import org.apache.hadoop.fs.LocatedFileStatus;
import org.apache.hadoop.fs.Options;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DistributedFileSystem;

/** Names and attributes: listed, renamed, deleted, set and summed up. */
final class NamespaceSteps {
  private static final int WIDE_ENTRIES = 2500;

  private final DistributedFileSystem fs;
  private final Path directory;

  NamespaceSteps(DistributedFileSystem fs, Path directory) {
    this.fs = fs;
    this.directory = new Path(directory, "names");
  }

  void addTo(Map<String, Scenario.Step> steps) {
    steps.put("list-iterator", this::listIterator);
    steps.put("list-order", this::listOrder);
    steps.put("list-located", this::listLocated);
    steps.put("rename", this::rename);
    steps.put("rename-overwrite", this::renameOverwrite);
    steps.put("delete", this::delete);
    steps.put("attributes", this::attributes);
    steps.put("times", this::times);
    steps.put("content-summary", this::contentSummary);
    steps.put("xattrs", this::xattrs);
    steps.put("server", this::server);
  }

  private Path path(String name) {
    return new Path(directory, name);
  }

  private void touch(Path path) throws IOException {
    fs.create(path, true).close();
  }

  private Object listIterator() throws IOException {
    Path wide = path("wide");
    for (int i = 0; i < WIDE_ENTRIES; i++) {
      fs.mkdirs(new Path(wide, String.format("d%05d", i)));
    }
    int count = 0;
    boolean ordered = true;
    String last = "";
    RemoteIterator<FileStatus> iterator = fs.listStatusIterator(wide);
    while (iterator.hasNext()) {
      String name = iterator.next().getPath().getName();
      ordered &= last.compareTo(name) < 0;
      last = name;
      count++;
    }
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("count", count);
    value.put("ordered", ordered);
    value.put("listStatus", fs.listStatus(wide).length);
    return value;
  }

  private Object listOrder() throws IOException {
    Path mixed = path("mixed");
    for (String name : new String[] {"b", "A", "é", "中", "a b", "Z", "0", "a%20b", "a+b"}) {
      touch(new Path(mixed, name));
    }
    List<String> names = new ArrayList<>();
    for (FileStatus status : fs.listStatus(mixed)) {
      names.add(status.getPath().getName());
    }
    return names;
  }

  private Object listLocated() throws IOException {
    Path tree = path("tree");
    Bytes.write(fs, new Path(tree, "a/b/file"), 1000);
    Bytes.write(fs, new Path(tree, "a/file"), 2000);
    Bytes.write(fs, new Path(tree, "file"), 3000);
    Map<String, Object> found = new TreeMap<>();
    RemoteIterator<LocatedFileStatus> files = fs.listFiles(tree, true);
    while (files.hasNext()) {
      LocatedFileStatus file = files.next();
      String name = file.getPath().toUri().getPath().substring(tree.toString().length() + 1);
      found.put(name, Arrays.asList(file.getLen(), file.getBlockLocations().length));
    }
    return found;
  }

  private Object rename() throws IOException {
    Path source = path("from/file");
    Path into = path("into");
    Bytes.write(fs, source, 10);
    fs.mkdirs(into);
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("toNew", fs.rename(source, path("from/renamed")));
    value.put("intoDirectory", fs.rename(path("from/renamed"), into));
    value.put("arrived", fs.exists(new Path(into, "renamed")));
    value.put("missing", fs.rename(path("nothing"), path("elsewhere")));
    touch(path("occupied"));
    value.put("ontoFile", fs.rename(new Path(into, "renamed"), path("occupied")));
    value.put("missingParent", fs.rename(new Path(into, "renamed"), path("no/such/parent")));
    value.put("ontoItself", fs.rename(path("occupied"), path("occupied")));
    value.put("below", fs.rename(into, new Path(into, "x")));
    return value;
  }

  private Object renameOverwrite() throws IOException {
    Bytes.write(fs, path("new"), 111);
    Bytes.write(fs, path("old"), 222);
    fs.rename(path("new"), path("old"), Options.Rename.OVERWRITE);
    return Arrays.asList(fs.getFileStatus(path("old")).getLen(), fs.exists(path("new")));
  }

  private Object delete() throws IOException {
    touch(path("gone/deep/er/file"));
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("tree", fs.delete(path("gone"), true));
    value.put("left", fs.exists(path("gone")));
    value.put("missing", fs.delete(path("gone"), true));
    return value;
  }

  private Object attributes() throws IOException {
    Path file = path("owned");
    Bytes.write(fs, file, 100);
    fs.setPermission(file, new FsPermission((short) 0640));
    fs.setOwner(file, "alice", "analysts");
    fs.setReplication(file, (short) 3);
    FileStatus status = fs.getFileStatus(file);
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("permission", status.getPermission().toString());
    value.put("owner", status.getOwner());
    value.put("group", status.getGroup());
    value.put("replication", status.getReplication());
    Path sticky = path("sticky");
    fs.mkdirs(sticky);
    fs.setPermission(sticky, new FsPermission((short) 01777));
    value.put("sticky", fs.getFileStatus(sticky).getPermission().toString());
    return value;
  }

  private Object times() throws IOException {
    Path file = path("timed");
    touch(file);
    fs.setTimes(file, 1_111_111_111_111L, 1_222_222_222_222L);
    FileStatus status = fs.getFileStatus(file);
    fs.setTimes(file, 1_333_333_333_333L, -1);
    FileStatus again = fs.getFileStatus(file);
    return Arrays.asList(
        status.getModificationTime(),
        status.getAccessTime(),
        again.getModificationTime(),
        again.getAccessTime());
  }

  private Object contentSummary() throws IOException {
    ContentSummary summary = fs.getContentSummary(path("tree"));
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("length", summary.getLength());
    value.put("files", summary.getFileCount());
    value.put("directories", summary.getDirectoryCount());
    value.put("quota", summary.getQuota());
    return value;
  }

  private Object xattrs() throws IOException {
    Path file = path("marked");
    touch(file);
    fs.setXAttr(file, "user.colour", new byte[] {1, 2, 3});
    fs.setXAttr(file, "user.empty", new byte[0]);
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("names", new ArrayList<>(new java.util.TreeSet<>(fs.listXAttrs(file))));
    value.put("colour", Hex.of(fs.getXAttr(file, "user.colour")));
    fs.removeXAttr(file, "user.colour");
    value.put("left", fs.getXAttrs(file).size());
    return value;
  }

  private Object server() throws IOException {
    FsServerDefaults defaults = fs.getServerDefaults(directory);
    FsStatus status = fs.getStatus();
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("blockSize", defaults.getBlockSize());
    value.put("bytesPerChecksum", defaults.getBytesPerChecksum());
    value.put("checksum", defaults.getChecksumType().name());
    value.put("encrypts", defaults.getEncryptDataTransfer());
    value.put("capacityIsReal", status.getCapacity() > status.getRemaining());
    value.put("dataNodes", fs.getDataNodeStats().length);
    value.put("home", fs.getHomeDirectory().toUri().getPath());
    return value;
  }
}
