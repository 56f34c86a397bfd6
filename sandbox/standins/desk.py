"""The desk behind every stand-in: its clock, its logs, its memory and its fault script.

Belongs here: what all stand-ins share. Files under <workspace home>/sandbox: accepted.jsonl,
conversions.jsonl, requests.jsonl, keys.jsonl (appended) and budgets.json (rewritten).
Keep out: any provider's format; the answers of people (the market writes those).
"""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Literal

FaultKind = Literal[
    "rate_limited", "unauthorized", "server_error", "error_after_accept", "reset_before",
    "reset_after_accept", "slow",
]  # fmt: skip


KEPT = timedelta(hours=24)  # how long idempotency keys are remembered


class ClockNotSetError(RuntimeError):
    """A stand-in was asked to accept something before its clock was set."""


@dataclass(frozen=True)
class Call:
    """One request as a stand-in reads it; `path` is without the provider's prefix."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the parsed body, or None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Reply:
    """One answer; `items` is how many messages, budgets or conversions it accepted."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    items: int = 0


@dataclass
class Fault:
    """One line of the fault script: skip some requests, then fail the next ones."""

    kind: FaultKind
    times: int = 1
    skip: int = 0
    seconds: float = 0.0


def stamp(at: datetime) -> str:
    """Write an instant as ISO 8601 in UTC with a Z."""
    return at.isoformat().replace("+00:00", "Z")


class Desk:
    """State shared by the threads of one server; every method holds the lock while it writes."""

    def __init__(self, workspace_home: Path, currency: str) -> None:
        self.folder = workspace_home / "sandbox"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.currency = currency
        self.lock = threading.RLock()
        self.counts: Counter[str] = Counter()
        self.blocked_addresses: set[str] = set()
        self.listed: list[dict[str, Any]] = []  # Twilio: messages as its list shows them
        self.budget_owners: dict[str, str] = {}  # Google Ads: budget resource to its campaign
        self.processing: dict[str, dict[str, Any]] = {}  # Data Manager: request id to its status
        self._clock: datetime | None = None
        self._faults: dict[str, list[Fault]] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._seen: Counter[str] = Counter()
        self._uploads: dict[str, datetime] | None = None
        self._keys: dict[str, dict[str, Any]] | None = None
        self._budgets: dict[str, dict[str, Any]] = self._load_budgets()

    # -- clock ------------------------------------------------------------------------------
    def set_clock(self, at: datetime) -> None:
        """Set the time at which everything accepted from now on is accepted."""
        self._clock = at

    def now(self) -> datetime:
        """Return the stand-ins' time. Raises ClockNotSetError before `set_clock`."""
        if self._clock is None:
            raise ClockNotSetError("call set_clock before sending to a stand-in")
        return self._clock

    # -- faults -----------------------------------------------------------------------------
    def fail(self, provider: str, fault: Fault) -> None:
        """Add a line to a provider's fault script."""
        with self.lock:
            self._faults.setdefault(provider, []).append(fault)

    def next_fault(self, provider: str) -> Fault | None:
        """Take the fault that is due for this request, if one is."""
        with self.lock:
            script = self._faults.get(provider, [])
            if not script:
                return None
            if script[0].skip > 0:
                script[0].skip -= 1
                return None
            due = script[0]
            due.times -= 1
            if due.times <= 0:
                script.pop(0)
            return due

    # -- logs -------------------------------------------------------------------------------
    def append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows to a JSON Lines file, flushed once."""
        lines = b"".join(
            json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            for row in rows
        )
        if not lines:
            return
        with self.lock:
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = (self.folder / name).open("ab")
            file.write(lines)
            file.flush()

    def count(self, provider: str, call: Call, reply: Reply) -> None:
        """Count a request and log it without query, body or credentials."""
        at = stamp(self._clock) if self._clock else None
        with self.lock:
            self.counts[provider] += 1
            row = {
                "provider": provider, "method": call.method, "path": call.path,
                "status": reply.status, "items": reply.items, "at": at,
            }  # fmt: skip
            self.append("requests.jsonl", [row])

    def close(self) -> None:
        """Close the log files."""
        with self.lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    # -- memory -----------------------------------------------------------------------------
    def new_id(self, kind: str, content: bytes) -> str:
        """Return a fresh hex id: the same run gives the same ids, a repeated request another."""
        content_digest = hashlib.sha256(content).hexdigest()
        with self.lock:
            self._seen[content_digest] += 1
            turn = self._seen[content_digest]
        at = stamp(self._clock) if self._clock else ""
        return hashlib.sha256(f"{kind} {at} {turn} {content_digest}".encode()).hexdigest()

    def recall(self, provider: str, key: str, body: bytes) -> Any:
        """Return the answer kept under a key, `other` where that was to another body, or None."""
        with self.lock:
            entry = self._kept().get(f"{provider} {key}")
        is_over = entry is None or datetime.fromisoformat(entry["at"]) < self.now() - KEPT
        if entry is None or is_over:
            return None
        return entry["answer"] if entry["body"] == hashlib.sha256(body).hexdigest() else "other"

    def keep(self, provider: str, key: str, body: bytes, answer: Any) -> None:
        """Keep an answer under an idempotency key for a day, beyond the life of the server."""
        entry = {
            "name": f"{provider} {key}", "at": stamp(self.now()),
            "body": hashlib.sha256(body).hexdigest(), "answer": answer,
        }  # fmt: skip
        with self.lock:
            self._kept()[entry["name"]] = entry
            self.append("keys.jsonl", [entry])

    def _kept(self) -> dict[str, dict[str, Any]]:
        if self._keys is None:
            path = self.folder / "keys.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            self._keys = {row["name"]: row for row in map(json.loads, lines)}
        return self._keys

    def _load_budgets(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "budgets.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def budget(self, platform: str, campaign_id: str) -> Decimal | None:
        """Return the daily budget in force, in currency units, or None where none was set."""
        entry = self._budgets.get(platform, {}).get(campaign_id)
        return Decimal(str(entry["amount"])) if entry else None

    def changes_in_the_last_hour(self, platform: str, campaign_id: str) -> int:
        """Count a campaign's budget changes within the hour before the clock."""
        entry = self._budgets.get(platform, {}).get(campaign_id, {})
        oldest = self.now() - timedelta(hours=1)
        return sum(
            datetime.fromisoformat(past["since"]) > oldest for past in entry.get("history", [])
        )

    def set_budget(self, platform: str, campaign_id: str, amount: Decimal) -> None:
        """Set a daily budget as of the clock; every change stays in the entry's history."""
        change = {"amount": float(amount), "since": stamp(self.now())}
        with self.lock:
            campaigns = self._budgets.setdefault(platform, {})
            history = [*campaigns.get(campaign_id, {}).get("history", []), change]
            campaigns[campaign_id] = {**change, "history": history}
            draft = self.folder / "budgets.json.new"
            draft.write_text(json.dumps(self._budgets, indent=1, sort_keys=True))
            draft.replace(self.folder / "budgets.json")

    def last_upload(self, platform: str, dedup_key: str) -> datetime | None:
        """Return when a conversion with this dedup key was first taken."""
        with self.lock:
            if self._uploads is None:
                self._uploads = self._load_uploads()
            return self._uploads.get(f"{platform} {dedup_key}")

    def _load_uploads(self) -> dict[str, datetime]:
        path = self.folder / "conversions.jsonl"
        if not path.exists():
            return {}
        rows = (json.loads(line) for line in path.read_text().splitlines())
        return {
            f"{row['platform']} {row['dedup_key']}": datetime.fromisoformat(row["accepted_at"])
            for row in rows
            if not row["duplicate"]
        }

    def take_conversions(self, platform: str, rows: list[dict[str, Any]]) -> None:
        """Log conversions; each row tells its `dedup_key` and whether it is a `duplicate`."""
        at = self.now()
        with self.lock:
            for row in rows:
                if not row["duplicate"] and self._uploads is not None:
                    self._uploads[f"{platform} {row['dedup_key']}"] = at
            self.append(
                "conversions.jsonl",
                ({"platform": platform, **row, "accepted_at": stamp(at)} for row in rows),
            )
