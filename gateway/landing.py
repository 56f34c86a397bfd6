"""The landing log: lines that are on the disk before anybody is told so.

Belongs here: one open file per gateway, its sync, its rotation, and what a crash left behind.
Keep out: what a line says (`segment.py`, `webhooks.py`), waiting for others (`commits.py`).

A file that is being written ends in `.part` and is locked by its writer (flock, which goes with
the process). Ingestion reads `*.jsonl` only: a file gets that name whole, by a hard link, which
never replaces another. Several gateways may share a folder.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

PART, WHOLE = ".part", ".jsonl"
TAIL_BYTES = 1 << 20


class LandingError(OSError):
    """The line is not durable: nothing of it was kept, and the sender must try again."""


@dataclass(frozen=True)
class Rotation:
    """When a file is handed to ingestion: at a size, or at an age."""

    max_bytes: int = 16 << 20
    max_age: timedelta = timedelta(seconds=60)


@dataclass
class _Part:
    """The file being written: `size` bytes of it are whole lines, synced."""

    path: Path
    descriptor: int
    opened_at: datetime
    size: int = 0


class LandingLog:
    """One writer's log in a folder. Its methods run on one thread at a time."""

    def __init__(
        self, folder: Path, clock: Callable[[], datetime], rotation: Rotation | None = None
    ) -> None:
        self.folder = folder
        self._clock = clock
        self._rotation = rotation or Rotation()
        self._part: _Part | None = None
        self._opened = 0

    def recover(self) -> int:
        """Publish what gateways that are no longer alive left behind; returns how many files.

        A last line without its end was never acknowledged and is cut off.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return sum(_recovered(path) for path in sorted(self.folder.glob(f"*{PART}")))

    def commit(self, lines: bytes) -> None:
        """Write whole lines and sync them. Raises LandingError when they are not on the disk.

        After a failure the file is cut back to what was synced before, and closed: after a
        failed sync its pages cannot be trusted, so the next commit begins another.
        """
        try:
            part = self._part = self._part or self._open()
            _write(part.descriptor, lines)
            os.fdatasync(part.descriptor)
        except OSError as error:
            self._abandon()
            raise LandingError(error.errno, "the landing log cannot be written") from error
        part.size += len(lines)
        if part.size >= self._rotation.max_bytes:
            self.rotate()

    def rotate(self) -> None:
        """Hand the open file to ingestion. Where that fails, `recover` does it later."""
        part, self._part = self._part, None
        if part is None:
            return
        with contextlib.suppress(OSError):
            _publish(part.path, part.size)
        os.close(part.descriptor)

    def rotate_when_due(self) -> None:
        """Hand the open file over when it is old enough."""
        part = self._part
        if part is not None and self._clock() - part.opened_at >= self._rotation.max_age:
            self.rotate()

    def _abandon(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(part.descriptor, part.size)
            _publish(part.path, part.size)
        os.close(part.descriptor)

    def _open(self) -> _Part:
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            now = self._clock()
            self._opened += 1
            stem = f"{now:%Y%m%dT%H%M%S%f}-{os.getpid()}-{self._opened}"
            path = self.folder / f"{stem}{PART}"
            if path.with_suffix(WHOLE).exists():
                continue
            with contextlib.suppress(FileExistsError, BlockingIOError):
                part = _Part(path, _created(path), now)
                _sync_folder(self.folder)
                return part


def _created(path: Path) -> int:
    """A new file, locked. Another gateway's recovery may be faster: then it is not ours."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(descriptor).st_nlink:
            raise BlockingIOError
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write(descriptor: int, lines: bytes) -> None:
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _recovered(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = _whole_lines(descriptor)
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
        return _publish(path, size)
    except BlockingIOError:  # its writer is alive
        return False
    finally:
        os.close(descriptor)


def _whole_lines(descriptor: int) -> int:
    """How many bytes of the file end with a newline."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - TAIL_BYTES)
        cut = os.pread(descriptor, end - start, start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0


def _publish(path: Path, size: int) -> bool:
    """Give a whole file its final name; an empty one is removed."""
    whole = path.with_suffix(WHOLE)
    if size:
        with contextlib.suppress(FileExistsError):  # a crash between the link and the unlink
            os.link(path, whole)
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return size > 0


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
