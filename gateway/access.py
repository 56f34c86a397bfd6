"""Access: who may call, and how often.

Belongs here: keys, token buckets. Keep out: signatures of providers and links, which prove
themselves (`activations`).
"""

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from gateway.bodies import RefusedError

MAX_BUCKETS = 10_000


def digests(keys: Mapping[str, str]) -> Mapping[bytes, str]:
    """Names by the SHA-256 of their key, from names by key.

    A look-up by digest tells nothing of a key by the time it takes.
    """
    return {hashlib.sha256(key.encode()).digest(): name for key, name in keys.items()}


def name_of(known: Mapping[bytes, str], given: str | None) -> str:
    """The name of a key. Raises RefusedError 401."""
    name = known.get(hashlib.sha256((given or "").encode("utf-8", "replace")).digest())
    if not given or name is None:
        raise RefusedError(401, "unknown_key")
    return name


def basic_user(request: Request) -> str | None:
    """The user of basic authentication: where Segment's libraries put the write key."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return None


def bearer(request: Request) -> str | None:
    """The token of `Authorization: Bearer`."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True)
class Rate:
    """So many a second on average, and as many at once as `burst`."""

    per_second: float
    burst: float


class Buckets:
    """One token bucket per name; the least recently used ones are forgotten, which fills them."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, count: float, now: float) -> None:
        """Take `count` tokens at `now` (monotonic seconds). Raises RefusedError 429."""
        left, then = self._held.pop(name, (self._rate.burst, now))
        left = min(self._rate.burst, left + (now - then) * self._rate.per_second)
        wanted = min(count, self._rate.burst)
        is_allowed = left >= wanted
        self._held[name] = (left - wanted if is_allowed else left, now)
        if len(self._held) > MAX_BUCKETS:
            self._held.popitem(last=False)
        if not is_allowed:
            wait = (wanted - left) / self._rate.per_second
            raise RefusedError(429, "too_many_requests", retry_after=max(1, round(wait)))
