package io.lockstep.test;

import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.Path;

/** File contents whose byte at every offset is known, so that any range can be checked. */
final class Bytes {
  private Bytes() {}

  static byte at(long offset) {
    long mixed = (offset + 1) * 0x9E3779B97F4A7C15L;
    return (byte) (mixed >>> 56);
  }

  static byte[] range(long offset, int length) {
    byte[] bytes = new byte[length];
    for (int i = 0; i < length; i++) {
      bytes[i] = at(offset + i);
    }
    return bytes;
  }

  static boolean matches(byte[] bytes, int count, long offset) {
    for (int i = 0; i < count; i++) {
      if (bytes[i] != at(offset + i)) {
        return false;
      }
    }
    return true;
  }

  static void write(FileSystem fs, Path path, int length) throws IOException {
    try (FSDataOutputStream out = fs.create(path, true)) {
      out.write(range(0, length));
    }
  }

  static String sha256(FileSystem fs, Path path) throws IOException {
    try (InputStream in = fs.open(path)) {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      byte[] buffer = new byte[1 << 16];
      for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
        digest.update(buffer, 0, count);
      }
      return Hex.of(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  static String sha256(byte[] bytes) {
    try {
      return Hex.of(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
