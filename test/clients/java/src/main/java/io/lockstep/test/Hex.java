package io.lockstep.test;

/** Bytes as lower-case hexadecimal. */
final class Hex {
  private Hex() {}

  static String of(byte[] bytes) {
    StringBuilder out = new StringBuilder(bytes.length * 2);
    for (byte b : bytes) {
      out.append(String.format("%02x", b));
    }
    return out.toString();
  }
}
