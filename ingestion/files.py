"""Files of a source: which there are, their content hash, their bytes.

Belongs here: globs, remote file systems, gzip, telling an empty or broken file from a good one.
Keep out: rows.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from ingestion.results import FileError

READ_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class SourceFile:
    """One file: where it is, as recorded in raw.batches, and how to reach it."""

    location: str
    path: str
    file_system: Any
    is_local: bool


@dataclass(frozen=True)
class LocalFile:
    """A file that can be opened here; `content_hash` is the SHA-256 of its bytes."""

    path: Path
    content_hash: str
    is_parquet: bool
    is_gzip: bool


def find(pattern: str) -> list[SourceFile]:
    """The files that a path, glob or fsspec URL names, ordered by location.

    Raises FileError when the pattern names one file that is not there, or a file system whose
    package is not installed.
    """
    try:
        file_system, path = fsspec.url_to_fs(pattern)
        paths = sorted(name for name in file_system.glob(path) if file_system.isfile(name))
    except (ImportError, OSError, ValueError) as error:
        raise FileError(_one_line(error)) from error
    if not paths and not any(mark in pattern for mark in "*?["):
        raise FileError("no such file")
    is_local = "file" in _protocols(file_system)
    return [
        SourceFile(
            location=name if is_local else file_system.unstrip_protocol(name),
            path=name,
            file_system=file_system,
            is_local=is_local,
        )
        for name in paths
    ]


def at(location: str) -> SourceFile:
    """The file of one recorded location. Raises FileError when it is gone."""
    file_system, path = fsspec.url_to_fs(location)
    if not file_system.isfile(path):
        raise FileError("the file is no longer there")
    return SourceFile(location, path, file_system, "file" in _protocols(file_system))


@contextmanager
def opened(file: SourceFile, directory: Path) -> Iterator[LocalFile]:
    """The file's bytes on this machine; a remote file is copied into `directory` for the while.

    Raises FileError when it cannot be read or is empty.
    """
    copy = directory / hashlib.sha256(file.location.encode()).hexdigest()[:16]
    path = Path(file.path) if file.is_local else copy
    try:
        if not file.is_local:
            file.file_system.get_file(file.path, str(copy))
        yield _inspected(path)
    except OSError as error:
        raise FileError(_one_line(error)) from error
    finally:
        copy.unlink(missing_ok=True)


def _inspected(path: Path) -> LocalFile:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(0)
        while block := stream.read(READ_BYTES):
            digest.update(block)
    if not head:
        raise FileError("the file is empty (0 bytes)")
    return LocalFile(path, digest.hexdigest(), head == PARQUET_MAGIC, head[:2] == GZIP_MAGIC)


def blocks(file: LocalFile, size: int) -> Iterator[bytes]:
    """Blocks of whole lines, uncompressed, of about `size` bytes; the last may lack its newline.

    Raises FileError for a truncated or damaged gzip, and for UTF-16.
    """
    try:
        with _stream(file) as stream:
            yield from _whole_lines(stream, size)
    except EOFError as error:
        raise FileError("the gzip file is truncated") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileError("the gzip file is damaged") from error


def _whole_lines(stream: BinaryIO, size: int) -> Iterator[bytes]:
    rest = stream.read(3)
    if rest[:2] in UTF16_MARKS:
        raise FileError("the file is UTF-16; expected UTF-8")
    rest = b"" if rest == b"\xef\xbb\xbf" else rest
    while block := stream.read(size):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
        else:
            rest += block
    if rest:
        yield rest


@contextmanager
def uncompressed(file: LocalFile, directory: Path) -> Iterator[Path]:
    """A path whose bytes are not compressed: the file itself, or a copy for the while."""
    if not file.is_gzip:
        yield file.path
        return
    copy = directory / f"{file.content_hash[:16]}.plain"
    try:
        with copy.open("wb") as target:
            for block in blocks(file, READ_BYTES):
                target.write(block)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _stream(file: LocalFile) -> Any:
    return gzip.open(file.path, "rb") if file.is_gzip else file.path.open("rb")


def _protocols(file_system: Any) -> tuple[str, ...]:
    protocol = file_system.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())[:200] or type(error).__name__
