/** What names and paths may be; the native core checks the same (`limits` of the format). */

/** Longest name of a directory entry, a snapshot or an extended attribute, in bytes of UTF-8. */
export const NAME_BYTES_MAX = 255
/** Longest path and longest target of a symbolic link, in bytes of UTF-8. */
export const PATH_BYTES_MAX = 4096
/** Largest value of one extended attribute, in bytes. */
export const XATTR_VALUE_BYTES_MAX = 65_536
