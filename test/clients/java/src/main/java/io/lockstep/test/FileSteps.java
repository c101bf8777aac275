package io.lockstep.test;

import java.io.IOException;
import java.io.EOFException;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.CRC32C;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.BlockLocation;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileChecksum;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.client.HdfsDataOutputStream;
import org.apache.hadoop.hdfs.client.HdfsDataOutputStream.SyncFlag;

/** Bytes: written, read, flushed, appended, truncated, joined, checksummed. */
final class FileSteps {
  private static final int BLOCK_BYTES = 1 << 20;
  private static final int FILE_BYTES = 5 * BLOCK_BYTES + 12_345;
  private static final int CHECKSUM_CHUNK_BYTES = 512;

  private final Configuration configuration;
  private final DistributedFileSystem fs;
  private final Path directory;

  FileSteps(Configuration configuration, DistributedFileSystem fs, Path directory) {
    this.configuration = configuration;
    this.fs = fs;
    this.directory = new Path(directory, "files");
  }

  void addTo(Map<String, Scenario.Step> steps) {
    steps.put("write-blocks", this::writeBlocks);
    steps.put("parallel-positional-reads", this::parallelReads);
    steps.put("seek-and-read", this::seekAndRead);
    steps.put("append", this::append);
    steps.put("hflush", this::hflush);
    steps.put("hsync-length", this::hsyncLength);
    steps.put("truncate", this::truncate);
    steps.put("concat", this::concat);
    steps.put("checksum-md5", this::checksumMd5);
    steps.put("checksum-composite", this::checksumComposite);
    steps.put("empty-file", this::emptyFile);
    steps.put("overwrite", this::overwrite);
    steps.put("reader-outlives-delete", this::readerOutlivesDelete);
  }

  private Path path(String name) {
    return new Path(directory, name);
  }

  private Object writeBlocks() throws IOException {
    Path file = path("blocks");
    try (FSDataOutputStream out = fs.create(file, true, 4096, (short) 1, BLOCK_BYTES)) {
      out.write(Bytes.range(0, FILE_BYTES));
    }
    List<Object> blocks = new ArrayList<>();
    for (BlockLocation block : fs.getFileBlockLocations(file, 0, FILE_BYTES)) {
      blocks.add(Arrays.asList(block.getOffset(), block.getLength(), block.getHosts().length));
    }
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("length", fs.getFileStatus(file).getLen());
    value.put("blockSize", fs.getFileStatus(file).getBlockSize());
    value.put("blocks", blocks);
    value.put("same", Bytes.sha256(fs, file).equals(Bytes.sha256(Bytes.range(0, FILE_BYTES))));
    return value;
  }

  private Object parallelReads() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8);
    try (FSDataInputStream in = fs.open(path("blocks"))) {
      List<Future<Integer>> readers = new ArrayList<>();
      for (int seed = 0; seed < 8; seed++) {
        Random random = new Random(seed);
        readers.add(pool.submit(() -> badPositionalReads(in, random, 100)));
      }
      int bad = 0;
      for (Future<Integer> reader : readers) {
        bad += reader.get();
      }
      Map<String, Object> value = new LinkedHashMap<>();
      value.put("reads", 800);
      value.put("wrong", bad);
      return value;
    } finally {
      pool.shutdownNow();
    }
  }

  private static int badPositionalReads(FSDataInputStream in, Random random, int count)
      throws IOException {
    int bad = 0;
    byte[] buffer = new byte[100_000];
    for (int i = 0; i < count; i++) {
      int length = 1 + random.nextInt(buffer.length);
      long offset = random.nextInt(FILE_BYTES - length);
      in.readFully(offset, buffer, 0, length);
      if (!Bytes.matches(buffer, length, offset)) {
        bad++;
      }
    }
    return bad;
  }

  private Object seekAndRead() throws IOException {
    Map<String, Object> value = new LinkedHashMap<>();
    byte[] buffer = new byte[3000];
    try (FSDataInputStream in = fs.open(path("blocks"))) {
      int bad = 0;
      for (long offset : new long[] {0, 511, 512, 513, BLOCK_BYTES - 1, BLOCK_BYTES, FILE_BYTES - 3000}) {
        in.seek(offset);
        in.readFully(buffer);
        bad += Bytes.matches(buffer, buffer.length, offset) ? 0 : 1;
      }
      value.put("wrong", bad);
      in.seek(FILE_BYTES);
      value.put("readAtEnd", in.read());
      value.put("positionalAtEnd", in.read(FILE_BYTES, buffer, 0, 10));
      try {
        in.seek(FILE_BYTES + 1L);
        value.put("seekPastEnd", "allowed");
      } catch (EOFException e) {
        value.put("seekPastEnd", "EOFException");
      }
    }
    return value;
  }

  private Object append() throws IOException {
    Path file = path("appended");
    Bytes.write(fs, file, 700);
    int length = 700;
    for (int more : new int[] {1, 323, 1024, 200_000}) {
      try (FSDataOutputStream out = fs.append(file)) {
        out.write(Bytes.range(length, more));
      }
      length += more;
    }
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("length", fs.getFileStatus(file).getLen());
    value.put("same", Bytes.sha256(fs, file).equals(Bytes.sha256(Bytes.range(0, length))));
    return value;
  }

  private Object hflush() throws IOException {
    Path file = path("flushed");
    Map<String, Object> value = new LinkedHashMap<>();
    try (FSDataOutputStream out = fs.create(file, true);
        FileSystem reader = FileSystem.newInstance(configuration)) {
      int length = 0;
      List<Integer> seen = new ArrayList<>();
      for (int more : new int[] {1000, 24, 100_000}) {
        out.write(Bytes.range(length, more));
        length += more;
        out.hflush();
        seen.add(readable(reader, file));
      }
      value.put("readable", seen);
      value.put("closedBefore", fs.isFileClosed(file));
    }
    value.put("closedAfter", fs.isFileClosed(file));
    value.put("length", fs.getFileStatus(file).getLen());
    return value;
  }

  /** How many right bytes another client reads from the start; -1 if one is wrong. */
  private static int readable(FileSystem reader, Path file) throws IOException {
    try (FSDataInputStream in = reader.open(file)) {
      byte[] buffer = new byte[200_000];
      int total = 0;
      for (int n = in.read(buffer, 0, buffer.length); n > 0;
          n = in.read(buffer, total, buffer.length - total)) {
        total += n;
      }
      return Bytes.matches(buffer, total, 0) ? total : -1;
    }
  }

  private Object hsyncLength() throws IOException {
    Path file = path("synced");
    List<Long> lengths = new ArrayList<>();
    try (FSDataOutputStream out = fs.create(file, true)) {
      int length = 0;
      for (int more : new int[] {100, 5000}) {
        out.write(Bytes.range(length, more));
        length += more;
        ((HdfsDataOutputStream) out).hsync(EnumSet.of(SyncFlag.UPDATE_LENGTH));
        lengths.add(fs.getFileStatus(file).getLen());
      }
    }
    return lengths;
  }

  private Object truncate() throws IOException {
    Path file = path("truncated");
    Bytes.write(fs, file, 10_000);
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("done", fs.truncate(file, 4321));
    for (int i = 0; i < 50 && !fs.isFileClosed(file); i++) {
      try {
        Thread.sleep(100);
      } catch (InterruptedException e) {
        throw new IOException(e);
      }
    }
    value.put("length", fs.getFileStatus(file).getLen());
    try (FSDataOutputStream out = fs.append(file)) {
      out.write(Bytes.range(4321, 100));
    }
    value.put("same", Bytes.sha256(fs, file).equals(Bytes.sha256(Bytes.range(0, 4421))));
    return value;
  }

  private Object concat() throws IOException {
    Path target = path("joined");
    Path[] sources = {path("part1"), path("part2")};
    int at = 0;
    for (Path part : new Path[] {target, sources[0], sources[1]}) {
      try (FSDataOutputStream out = fs.create(part, true, 4096, (short) 1, BLOCK_BYTES)) {
        out.write(Bytes.range(at, BLOCK_BYTES));
      }
      at += BLOCK_BYTES;
    }
    fs.concat(target, sources);
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("length", fs.getFileStatus(target).getLen());
    value.put("same", Bytes.sha256(fs, target).equals(Bytes.sha256(Bytes.range(0, at))));
    value.put("sourcesLeft", fs.exists(sources[0]) || fs.exists(sources[1]));
    return value;
  }

  private Object checksumMd5() throws Exception {
    FileChecksum checksum = fs.getFileChecksum(path("blocks"));
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("algorithm", checksum.getAlgorithmName());
    byte[] md5 = Arrays.copyOfRange(checksum.getBytes(), 12, 28);
    value.put("same", Arrays.equals(md5, md5OfBlocks()));
    return value;
  }

  /** HDFS's own rule: MD5 over the block MD5s in a zero-padded buffer that doubles from 32 bytes. */
  private static byte[] md5OfBlocks() throws Exception {
    byte[] outer = new byte[32];
    int used = 0;
    for (int start = 0; start < FILE_BYTES; start += BLOCK_BYTES) {
      byte[] inner = md5OfCrcs(start, Math.min(BLOCK_BYTES, FILE_BYTES - start));
      if (used + inner.length > outer.length) {
        outer = Arrays.copyOf(outer, Math.max(outer.length * 2, used + inner.length));
      }
      System.arraycopy(inner, 0, outer, used, inner.length);
      used += inner.length;
    }
    return MessageDigest.getInstance("MD5").digest(outer);
  }

  private static byte[] md5OfCrcs(int start, int length) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("MD5");
    CRC32C crc = new CRC32C();
    for (int at = 0; at < length; at += CHECKSUM_CHUNK_BYTES) {
      crc.reset();
      crc.update(Bytes.range(start + at, Math.min(CHECKSUM_CHUNK_BYTES, length - at)));
      digest.update(ByteBuffer.allocate(4).putInt((int) crc.getValue()).array());
    }
    return digest.digest();
  }

  private Object checksumComposite() throws IOException {
    Configuration composite = new Configuration(configuration);
    composite.set("dfs.checksum.combine.mode", "COMPOSITE_CRC");
    try (FileSystem other = FileSystem.newInstance(composite)) {
      FileChecksum checksum = other.getFileChecksum(path("blocks"));
      CRC32C crc = new CRC32C();
      crc.update(Bytes.range(0, FILE_BYTES));
      byte[] expected = ByteBuffer.allocate(4).putInt((int) crc.getValue()).array();
      Map<String, Object> value = new LinkedHashMap<>();
      value.put("algorithm", checksum.getAlgorithmName());
      value.put("same", Arrays.equals(checksum.getBytes(), expected));
      return value;
    }
  }

  private Object emptyFile() throws IOException {
    Path file = path("empty");
    fs.create(file, true).close();
    try (FSDataInputStream in = fs.open(file)) {
      return Arrays.asList(fs.getFileStatus(file).getLen(), in.read());
    }
  }

  private Object overwrite() throws IOException {
    Path file = path("overwritten");
    Bytes.write(fs, file, 300_000);
    Bytes.write(fs, file, 1234);
    return Arrays.asList(
        fs.getFileStatus(file).getLen(),
        Bytes.sha256(fs, file).equals(Bytes.sha256(Bytes.range(0, 1234))));
  }

  /** More than the sockets between client and server can hold. */
  private static final int STREAM_BYTES = 24 << 20;

  private Object readerOutlivesDelete() throws IOException {
    Path file = path("doomed");
    Bytes.write(fs, file, STREAM_BYTES);
    byte[] buffer = new byte[STREAM_BYTES];
    try (FSDataInputStream in = fs.open(file)) {
      in.readFully(buffer, 0, 1000);
      fs.delete(file, false);
      in.readFully(buffer, 1000, STREAM_BYTES - 1000);
    }
    return Bytes.matches(buffer, buffer.length, 0);
  }
}
