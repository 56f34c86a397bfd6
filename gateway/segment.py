"""Messages of the Segment HTTP API into the lines that ingestion reads.

Belongs here: which messages are taken, the same rules as `ingestion/sql/segment.sql` has, and what
the server adds to them (times, ids). Keep out: HTTP, files.

Source: segment.com/docs/connections/sources/catalog/libraries/server/http-api; times as described
under "timestamps in the Segment spec": timestamp = receivedAt - (sentAt - originalTimestamp).
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

from warehouse import currencies

MAX_EVENT_BYTES = 32 << 10
# What the server adds to a line (times, an id) is not the sender's to answer for.
ADDED_BYTES = 512
MAX_TEXT = 200
KINDS = ("track", "identify", "page", "screen", "alias", "group")
# The single letters are those of the browser library: /v1/t, /v1/i, …
LETTERS = {kind[0]: kind for kind in KINDS}
TEXTS = ("anonymousId", "userId", "previousId", "groupId")
OBJECTS = ("context", "traits", "properties")
EARLIEST, LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
NUMBER = re.compile(r"\s*[+-]?(\d{1,27}(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?\s*")
LETTER_OR_DIGIT = re.compile(r"[^\W_]")
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
BROWSER_LIBRARY = "analytics.js"


class MalformedError(ValueError):
    """A body that is no message; the text is a reason of a few words, never a value."""


@dataclass(frozen=True)
class Taken:
    """The lines to land, and of a batch which messages were refused: (position, reason)."""

    lines: bytes = field(repr=False)
    count: int
    refused: tuple[tuple[int, str], ...] = ()


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises MalformedError."""
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedError("broken_json") from error
    if not isinstance(found, dict):
        raise MalformedError("not_an_object")
    return found


def take(
    kind: str, message: Mapping[str, Any], received_at: datetime, new_id: Callable[[], str]
) -> Taken:
    """One call of `kind`. Raises MalformedError with the reason ingestion would give."""
    sent_at = _moment(message.get("sentAt"))
    line = _line(message, kind, received_at, sent_at, None, new_id)
    return Taken(line, 1)


def take_batch(
    message: Mapping[str, Any], received_at: datetime, new_id: Callable[[], str]
) -> Taken:
    """A batch: its good messages are taken, the others told by position.

    Raises MalformedError when there is no list of messages, or every one of them is refused.
    """
    batch = message.get("batch")
    if not isinstance(batch, list):
        raise MalformedError("missing_value: batch")
    sent_at = _moment(message.get("sentAt"))
    shared = message.get("context") if isinstance(message.get("context"), dict) else None
    lines, refused = [], []
    for position, one in enumerate(batch):
        try:
            if not isinstance(one, dict):
                raise MalformedError("not_an_object")
            kind = one.get("type")
            if kind not in KINDS:
                raise MalformedError("unknown_value: type")
            lines.append(_line(one, kind, received_at, sent_at, shared, new_id))
        except MalformedError as error:
            refused.append((position, str(error)))
    if refused and not lines:
        raise MalformedError(refused[0][1])
    return Taken(b"".join(lines), len(lines), tuple(refused))


def _line(
    message: Mapping[str, Any],
    kind: str,
    received_at: datetime,
    sent_at: datetime | None,
    shared: dict[str, Any] | None,
    new_id: Callable[[], str],
) -> bytes:
    out: dict[str, Any] = {"messageId": _message_id(message, new_id), "type": kind}
    out |= _named(message, kind)
    out |= _texts(message, kind)
    out |= _times(message, received_at, sent_at)
    out |= _objects(message, shared)
    if (channel := _channel(message, out.get("context"))) is not None:
        out["channel"] = channel
    _check_money(out)
    return _encoded(out)


def _message_id(message: Mapping[str, Any], new_id: Callable[[], str]) -> str:
    """The sender's id. A message without one but with its own time is named by its content, so
    that sending it again is no second event."""
    given = message.get("messageId")
    if given is None or given == "":
        if not message.get("timestamp"):
            return new_id()
        told = {
            name: value for name, value in message.items() if name not in ("sentAt", "writeKey")
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
    if not isinstance(given, str | int) or isinstance(given, bool):
        raise MalformedError("wrong_type: messageId")
    text = str(given)
    if len(text) > MAX_TEXT or text[0] in "{[":
        raise MalformedError("wrong_type: messageId")
    return text


def _named(message: Mapping[str, Any], kind: str) -> dict[str, str]:
    if kind != "track":
        name = message.get("name")
        return {"name": name} if isinstance(name, str) else {}
    event = message.get("event")
    if event is None or event == "":
        raise MalformedError("missing_value: event")
    is_text = isinstance(event, str) and len(event) <= MAX_TEXT
    if not is_text or event[0] in "{[" or not LETTER_OR_DIGIT.search(event):
        raise MalformedError("wrong_type: event")
    return {"event": event}


def _texts(message: Mapping[str, Any], kind: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in TEXTS:
        value = message.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise MalformedError(f"wrong_type: {name}")
        text = str(value)
        if text[0] in "{[":
            raise MalformedError(f"wrong_type: {name}")
        found[name] = text
    if "userId" not in found and "anonymousId" not in found:
        raise MalformedError("missing_value: userId or anonymousId")
    if kind == "alias" and "previousId" not in found:
        raise MalformedError("missing_value: previousId")
    return found


def _times(
    message: Mapping[str, Any], received_at: datetime, sent_at: datetime | None
) -> dict[str, str]:
    """A sender whose clock is wrong is set right by when it says it sent; what then still lies
    ahead happened now."""
    given = message.get("timestamp") or message.get("originalTimestamp")
    stated = _moment(given)
    if given is not None and stated is None:
        raise MalformedError("wrong_type: timestamp")
    occurred_at = stated or received_at
    if stated is not None and sent_at is not None:
        occurred_at = received_at - (sent_at - stated)
    found = {"timestamp": _text(min(occurred_at, received_at)), "receivedAt": _text(received_at)}
    if occurred_at < EARLIEST:
        raise MalformedError("impossible_date: timestamp")
    if stated is not None:
        found["originalTimestamp"] = _text(stated)
    if sent_at is not None:
        found["sentAt"] = _text(sent_at)
    return found


def _objects(message: Mapping[str, Any], shared: dict[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in OBJECTS:
        value = message.get(name)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise MalformedError(f"wrong_type: {name}")
        found[name] = value
    if shared is not None:
        found["context"] = shared | found.get("context", {})
    return found


def _channel(message: Mapping[str, Any], context: Mapping[str, Any] | None) -> str | None:
    given = message.get("channel")
    if isinstance(given, str):
        return given
    library = context.get("library") if context else None
    is_browser = isinstance(library, dict) and library.get("name") == BROWSER_LIBRARY
    return "client" if is_browser else None


def _check_money(line: Mapping[str, Any]) -> None:
    """The rules of sql/segment.sql on the first of properties and traits that is there."""
    told = line.get("properties", line.get("traits")) or {}
    revenue = told.get("revenue")
    revenue = told.get("total") if revenue is None else revenue
    if revenue not in (None, "") and not _is_amount(revenue):
        raise MalformedError("wrong_type: revenue")
    currency = told.get("currency")
    if currency in (None, ""):
        return
    if not isinstance(currency, str) or currency.strip(" ").upper() not in currencies.CODES:
        raise MalformedError("unknown_currency")


def _is_amount(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return abs(value) < 1e27
    return isinstance(value, str) and NUMBER.fullmatch(value) is not None


def _moment(value: Any) -> datetime | None:
    """ISO 8601, UTC where it names no zone; None for anything else and for absurd years."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if EARLIEST <= found < LATEST else None


def _text(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"


def _encoded(line: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        encoded = text.encode()
    except (ValueError, RecursionError) as error:
        raise MalformedError("broken_json") from error
    if "\\u0000" in text and NUL.search(text):
        raise MalformedError("broken_json")
    if len(encoded) > MAX_EVENT_BYTES + ADDED_BYTES:
        raise MalformedError("too_large")
    return encoded + b"\n"


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)
