"""The market's state between two days, and how it is kept on disk.

Belongs here: what must be remembered to live on, saved whole and atomically. Does not belong
here: the truth (`truth`), which is written for the scorecard and never read back.
"""

import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.market.ads import Budgets
from sandbox.market.cards import Card
from sandbox.market.population import LOOKER, People

Columns = dict[str, np.ndarray]

VISIT_TYPES: Final[dict[str, str]] = {
    "at": "f8",
    "visitor": "i8",
    "place": "i2",
    "slot": "i1",
    "agent": "i2",
    "source": "i2",
    "tag": "i4",
    "intent": "i1",
    "cause": "i2",
    "discount": "f8",
}
CHORE_TYPES: Final[dict[str, str]] = {
    "at": "f8",
    "kind": "i1",
    "person": "i8",
    "order": "i8",
    "amount": "f8",
}
BROWSE, CART, BUY = 0, 1, 2
REFUND, TICKET = 0, 1
SOURCES: Final = ("direct", "organic_search", "referral", "organic_social", "newsletter")
FIRST_CAMPAIGN_SOURCE: Final = len(SOURCES)
EMAIL_SOURCE, SMS_SOURCE = 100, 101
MESSAGE_SOURCES: Final = {"email": EMAIL_SOURCE, "sms": SMS_SOURCE}
ORGANIC: Final = -1
NEVER: Final = datetime.min.replace(tzinfo=UTC)


def empty(types: dict[str, str]) -> Columns:
    """Return columns of the given types without rows."""
    return {name: np.empty(0, dtype=kind) for name, kind in types.items()}


def columns(types: dict[str, str], count: int, **values: Any) -> Columns:
    """Return columns of `count` rows; what is not given is zero."""
    return {
        name: np.broadcast_to(np.asarray(values.get(name, 0), dtype=kind), (count,)).copy()
        for name, kind in types.items()
    }


def stacked(parts: list[Columns]) -> Columns:
    """Return the parts one under the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rows_of(part: Columns, rows: np.ndarray) -> Columns:
    """Return the chosen rows (indices or mask)."""
    return {name: values[rows] for name, values in part.items()}


@dataclass
class World:
    """Everything the market remembers. Mutable: a day changes it in place.

    `lived_days` counts the whole market days simulated; `told_until` is the instant up to which
    landing files have been written. What arrives later waits: in `late_lines` (segment) and
    `late_webhooks` (provider events) as (received seconds, JSON text), in `late_contacts` and
    `late_consents` as rows.
    """

    seed: int
    size: int
    epoch: datetime
    currency: str
    budgets: Budgets
    people: People
    cards: list[Card]
    lived_days: int = 0
    told_until: datetime = NEVER
    heard_messages: int = 0
    order_number: int = 500_000
    looker_number: int = LOOKER
    tags: list[list[str]] = field(default_factory=list)
    planned: Columns = field(default_factory=lambda: empty(VISIT_TYPES))
    chores: Columns = field(default_factory=lambda: empty(CHORE_TYPES))
    late_lines: list[tuple[float, str]] = field(default_factory=list)
    late_webhooks: list[tuple[float, str]] = field(default_factory=list)
    late_contacts: list[dict[str, Any]] = field(default_factory=list)
    late_consents: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """Return the market's size in units of 5,000 people."""
        return self.size / 5_000

    def day_start(self, day: int) -> datetime:
        """Return the first instant of a market day."""
        return self.epoch + timedelta(days=day)

    def tag(self, program: str, arm: str) -> int:
        """Return the number of a program and arm, remembering new ones."""
        entry = [program, arm]
        if entry not in self.tags:
            self.tags.append(entry)
        return self.tags.index(entry)


SCALARS: Final = (
    "seed",
    "size",
    "currency",
    "budgets",
    "lived_days",
    "heard_messages",
    "order_number",
    "looker_number",
    "tags",
    "late_lines",
    "late_webhooks",
    "late_contacts",
    "late_consents",
)


def save(world: World, folder: Path) -> None:
    """Write the state beside the old one and swap, so that a crash leaves one or the other."""
    fresh, old = folder.with_name("state.new"), folder.with_name("state.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    pq.write_table(_flat(world.people), fresh / "people.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(world.cards), fresh / "cards.parquet", compression="zstd")
    pq.write_table(pa.table(world.planned), fresh / "planned.parquet")
    pq.write_table(pa.table(world.chores), fresh / "chores.parquet")
    scalars = {name: getattr(world, name) for name in SCALARS}
    times = {"epoch": world.epoch.isoformat(), "told_until": world.told_until.isoformat()}
    (fresh / "world.json").write_text(json.dumps(scalars | times, sort_keys=True))
    if folder.exists():
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> World | None:
    """Read the state, or None where the market was never founded."""
    old = folder.with_name("state.old")
    if not folder.exists() and old.exists():
        old.replace(folder)
    if not (folder / "world.json").exists():
        return None
    kept = json.loads((folder / "world.json").read_text())
    for name in ("late_lines", "late_webhooks"):
        kept[name] = [(float(at), line) for at, line in kept[name]]
    for name in ("epoch", "told_until"):
        kept[name] = datetime.fromisoformat(kept[name])
    return World(
        people=_deep(pq.read_table(folder / "people.parquet")),
        cards=pq.read_table(folder / "cards.parquet").to_pylist(),
        planned=_plain(pq.read_table(folder / "planned.parquet")),
        chores=_plain(pq.read_table(folder / "chores.parquet")),
        **kept,
    )


def _flat(people: People) -> pa.Table:
    flat: dict[str, np.ndarray] = {}
    for name, values in people.items():
        if values.ndim == 1:
            flat[name] = values
        else:
            flat |= {f"{name}.{k}": np.ascontiguousarray(values[:, k]) for k in range(
                values.shape[1])}  # fmt: skip
    return pa.table(flat)


def _plain(table: pa.Table) -> Columns:
    return {
        name: np.array(table[name].to_numpy(zero_copy_only=False)) for name in table.column_names
    }


def _deep(table: pa.Table) -> People:
    people: People = {}
    groups: dict[str, list[np.ndarray]] = {}
    for name, values in _plain(table).items():
        stem, _, part = name.partition(".")
        if part:
            groups.setdefault(stem, []).append(values)
        else:
            people[name] = values
    return people | {stem: np.column_stack(parts) for stem, parts in groups.items()}
