"""Landing files: written once, whole, and never changed.

Belongs here: names, formats and the promise that the same day gives the same bytes. Does not
belong here: what is in them.
"""

import csv
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class LandingError(RuntimeError):
    """A landing file exists already and says something else."""


def land(path: Path, content: bytes) -> Path | None:
    """Write a file whole; nothing for no content, nothing when it is there with the same bytes.

    Raises:
        LandingError: the file exists with other bytes; it is left as it is.
    """
    if not content:
        return None
    if path.exists():
        if path.read_bytes() != content:
            raise LandingError(f"{path.name} was landed before with other content")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
    return path


def packed_block(blocks: Sequence[Any]) -> bytes:
    """Return blocks of lines as gzip without a time stamp: equal lines give equal bytes."""
    # Level 1 packs a year of 5,000 people in about a second; level 6 needs four times as long.
    packer = zlib.compressobj(level=1, wbits=31)
    parts = [packer.compress(block) for block in blocks if len(block)]
    return b"".join([*parts, packer.flush()]) if parts else b""


def plain(lines: Iterable[str]) -> bytes:
    """Return JSON lines as they are."""
    text = "\n".join(lines)
    return (text + "\n").encode() if text else b""


def table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as CSV with a header; no bytes for no rows."""
    kept = list(rows)
    if not kept:
        return b""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(kept)
    return text.getvalue().encode()
