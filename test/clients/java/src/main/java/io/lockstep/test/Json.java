package io.lockstep.test;

import java.util.Collection;
import java.util.Map;

/** Writes maps, collections, strings, numbers and booleans as one line of JSON. */
final class Json {
  private Json() {}

  static String of(Object value) {
    StringBuilder out = new StringBuilder();
    write(out, value);
    return out.toString();
  }

  private static void write(StringBuilder out, Object value) {
    if (value == null || value instanceof Boolean) {
      out.append(value);
    } else if (value instanceof Number) {
      out.append(value instanceof Double ? String.format("%.3f", (Double) value) : value);
    } else if (value instanceof Map) {
      writeMap(out, (Map<?, ?>) value);
    } else if (value instanceof Collection) {
      writeList(out, (Collection<?>) value);
    } else {
      writeString(out, value.toString());
    }
  }

  private static void writeMap(StringBuilder out, Map<?, ?> map) {
    char separator = '{';
    for (Map.Entry<?, ?> entry : map.entrySet()) {
      out.append(separator);
      writeString(out, entry.getKey().toString());
      out.append(':');
      write(out, entry.getValue());
      separator = ',';
    }
    out.append(map.isEmpty() ? "{}" : "}");
  }

  private static void writeList(StringBuilder out, Collection<?> list) {
    char separator = '[';
    for (Object item : list) {
      out.append(separator);
      write(out, item);
      separator = ',';
    }
    out.append(list.isEmpty() ? "[]" : "]");
  }

  private static void writeString(StringBuilder out, String text) {
    out.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < 0x20 || c > 0x7e) {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    out.append('"');
  }
}
