package io.lockstep.test;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * What a command writes: its length, its SHA-256, and the first megabyte. A file of any size can be
 * printed into it without being held in memory.
 */
final class Capture extends OutputStream {
  private static final int KEPT_BYTES_MAX = 1 << 20;

  private final ByteArrayOutputStream head = new ByteArrayOutputStream();
  private final MessageDigest digest;
  private long length;

  Capture() {
    try {
      digest = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public synchronized void write(int value) {
    write(new byte[] {(byte) value}, 0, 1);
  }

  @Override
  public synchronized void write(byte[] bytes, int offset, int count) {
    digest.update(bytes, offset, count);
    length += count;
    int room = KEPT_BYTES_MAX - head.size();
    head.write(bytes, offset, Math.min(room, count));
  }

  synchronized long length() {
    return length;
  }

  synchronized byte[] head() {
    return head.toByteArray();
  }

  synchronized String sha256() {
    return Hex.of(digest.digest());
  }
}
