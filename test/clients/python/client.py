"""Reads and writes a running store with other people's clients, and prints JSON.

usage: client.py hdfs-native|webhdfs URL COMMAND ARGUMENT...

  walk PATH             every file below PATH: {relative path: [length, sha256]}
  sha256 PATH           [length, sha256] of one file
  range PATH OFF LEN    sha256 of a range of one file
  write PATH LOCAL      writes the local file to PATH
  append PATH LOCAL     appends the local file to PATH
  exercise DIRECTORY    makes, lists, renames, stats and removes in DIRECTORY; prints what it saw

The two clients share one interface here, so that a test compares them line by line.
"""

import hashlib
import json
import sys
from urllib.parse import urlparse

CHUNK_BYTES = 1 << 20


class Native:
    """hdfs-native: the Rust client of the hdfs:// protocols."""

    def __init__(self, url):
        from hdfs_native import Client

        self.client = Client(url)

    def files(self, path):
        for status in self.client.list_status(path, recursive=True):
            if not status.isdir:
                yield urlparse(status.path).path

    def chunks(self, path):
        reader = self.client.read(path)
        return reader.read_range_stream(0, len(reader))

    def range(self, path, offset, length):
        return self.client.read(path).read_range(offset, length)

    def write(self, path, chunks):
        with self.client.create(path) as writer:
            for chunk in chunks:
                writer.write(chunk)

    def append(self, path, chunks):
        with self.client.append(path) as writer:
            for chunk in chunks:
                writer.write(chunk)

    def exercise(self, directory):
        client = self.client
        client.mkdirs(directory + "/one/two", 0o755, True)
        self.write(directory + "/one/file", [b"hello"])
        client.rename(directory + "/one/file", directory + "/one/two/file")
        client.set_permission(directory + "/one/two/file", 0o600)
        client.set_times(directory + "/one/two/file", 1_111_111_111_000, 1_222_222_222_000)
        status = client.get_file_info(directory + "/one/two/file")
        summary = client.get_content_summary(directory)
        seen = {
            "length": status.length,
            "permission": oct(status.permission),
            "modified": status.modification_time,
            "names": sorted(urlparse(s.path).path for s in client.list_status(directory + "/one")),
            "summary": [summary.length, summary.file_count, summary.directory_count],
            "missing": self._missing(directory + "/nothing"),
        }
        seen["deleted"] = client.delete(directory, True)
        return seen

    def _missing(self, path):
        try:
            self.client.get_file_info(path)
        except FileNotFoundError as error:
            return type(error).__name__
        return None


class Web:
    """fsspec's webhdfs file system."""

    def __init__(self, url):
        from fsspec.implementations.webhdfs import WebHDFS

        parsed = urlparse(url)
        self.fs = WebHDFS(parsed.hostname, port=parsed.port, user="root")

    def files(self, path):
        return self.fs.find(path)

    def chunks(self, path):
        with self.fs.open(path, "rb", block_size=8 * CHUNK_BYTES, cache_type="readahead") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def range(self, path, offset, length):
        return self.fs.cat_file(path, start=offset, end=offset + length)

    def write(self, path, chunks):
        with self.fs.open(path, "wb") as file:
            for chunk in chunks:
                file.write(chunk)

    def append(self, path, chunks):
        with self.fs.open(path, "ab") as file:
            for chunk in chunks:
                file.write(chunk)

    def exercise(self, directory):
        fs = self.fs
        fs.makedirs(directory + "/one/two")
        self.write(directory + "/one/file", [b"hello"])
        fs.mv(directory + "/one/file", directory + "/one/two/file")
        fs.chmod(directory + "/one/two/file", "600")
        info = fs.info(directory + "/one/two/file")
        summary = fs.content_summary(directory)
        seen = {
            "length": info["size"],
            "permission": info["permission"],
            "type": info["type"],
            "names": sorted(fs.ls(directory + "/one", detail=False)),
            "summary": [summary["length"], summary["fileCount"], summary["directoryCount"]],
            "missing": self._missing(directory + "/nothing"),
        }
        fs.rm(directory, recursive=True)
        seen["left"] = fs.exists(directory)
        return seen

    def _missing(self, path):
        try:
            self.fs.info(path)
        except FileNotFoundError as error:
            return type(error).__name__
        return None


def digest(chunks):
    sha = hashlib.sha256()
    length = 0
    for chunk in chunks:
        sha.update(chunk)
        length += len(chunk)
    return [length, sha.hexdigest()]


def local_chunks(name):
    with open(name, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def run(client, command, arguments):
    if command == "walk":
        (top,) = arguments
        prefix = len(top.rstrip("/")) + 1
        return {path[prefix:]: digest(client.chunks(path)) for path in sorted(client.files(top))}
    if command == "sha256":
        return digest(client.chunks(arguments[0]))
    if command == "range":
        path, offset, length = arguments
        return digest([client.range(path, int(offset), int(length))])
    if command == "write":
        path, local = arguments
        client.write(path, local_chunks(local))
        return True
    if command == "append":
        path, local = arguments
        client.append(path, local_chunks(local))
        return True
    if command == "exercise":
        return client.exercise(arguments[0])
    raise SystemExit(f"no such command: {command}")


def main():
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    kind, url, command, *arguments = sys.argv[1:]
    client = {"hdfs-native": Native, "webhdfs": Web}[kind](url)
    print(json.dumps(run(client, command, arguments)))


main()
