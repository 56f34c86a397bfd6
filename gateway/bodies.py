"""Bodies of requests: read within a limit and a time, unpacked within the same limit.

Belongs here: what every route asks of a body before it looks into it. Keep out: its meaning.
"""

import asyncio
import zlib
from collections.abc import Collection

from starlette.requests import ClientDisconnect, Request

GZIP_WINDOW = 16 + zlib.MAX_WBITS
# Browsers post JSON as plain text to be spared a preflight request.
JSON_TYPES = ("", "application/json", "text/plain")
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class RefusedError(Exception):
    """An answer that is not the wished one: a status, a reason of a few words, a wait."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


async def read(
    request: Request, max_bytes: int, seconds: float, types: Collection[str] = JSON_TYPES
) -> bytes:
    """The body, unpacked: at most `max_bytes`, packed and unpacked alike, there in `seconds`.

    Raises RefusedError 400, 408, 413 or 415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in types and not kind.endswith("+json"):
        raise RefusedError(415, "unsupported_content_type")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise RefusedError(415, "unsupported_content_encoding")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise RefusedError(413, "too_large")
    try:
        async with asyncio.timeout(seconds):
            raw = await _received(request, max_bytes)
    except TimeoutError as error:
        raise RefusedError(408, "too_slow") from error
    return _unpacked(raw, max_bytes) if encoding == "gzip" else raw


async def _received(request: Request, max_bytes: int) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise RefusedError(413, "too_large")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise RefusedError(400, "incomplete_body") from error
    return b"".join(chunks)


def _unpacked(raw: bytes, max_bytes: int) -> bytes:
    """Of a gzip, never more than the limit is held: a bomb costs what an honest body costs."""
    unpacker = zlib.decompressobj(GZIP_WINDOW)
    try:
        body = unpacker.decompress(raw, max_bytes + 1)
    except zlib.error as error:
        raise RefusedError(400, "broken_gzip") from error
    if len(body) > max_bytes:
        raise RefusedError(413, "too_large")
    if not unpacker.eof or unpacker.unused_data:
        raise RefusedError(400, "broken_gzip")
    return body
