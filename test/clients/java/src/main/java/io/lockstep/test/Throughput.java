package io.lockstep.test;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import java.util.zip.CRC32C;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/** Writes a file of random bytes and reads it back, checksums on, with the time of each. */
final class Throughput {
  private static final int BUFFER_BYTES = 1 << 20;
  private static final int PATTERN_BYTES = 16 << 20;

  private Throughput() {}

  static Map<String, Object> run(Configuration configuration, String name, long bytes)
      throws IOException {
    FileSystem fs = FileSystem.get(configuration);
    Path path = new Path(name);
    byte[] pattern = new byte[PATTERN_BYTES];
    new Random(20261122).nextBytes(pattern);
    CRC32C written = new CRC32C();
    long start = System.nanoTime();
    try (OutputStream out = fs.create(path, true)) {
      long left = bytes;
      for (int at = 0; left > 0; at = (at + BUFFER_BYTES) % PATTERN_BYTES) {
        int count = (int) Math.min(left, BUFFER_BYTES);
        out.write(pattern, at, count);
        written.update(pattern, at, count);
        left -= count;
      }
    }
    double putSeconds = (System.nanoTime() - start) / 1e9;
    CRC32C read = new CRC32C();
    start = System.nanoTime();
    long total = 0;
    try (InputStream in = fs.open(path)) {
      byte[] buffer = new byte[BUFFER_BYTES];
      for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
        read.update(buffer, 0, count);
        total += count;
      }
    }
    double getSeconds = (System.nanoTime() - start) / 1e9;
    Map<String, Object> result = new LinkedHashMap<>();
    result.put("bytes", total);
    result.put("putSeconds", putSeconds);
    result.put("getSeconds", getSeconds);
    result.put("putMegabytesPerSecond", bytes / 1e6 / putSeconds);
    result.put("getMegabytesPerSecond", total / 1e6 / getSeconds);
    result.put("crc32cWritten", Long.toHexString(written.getValue()));
    result.put("crc32cRead", Long.toHexString(read.getValue()));
    return result;
  }
}
