"""The turmoil: dispatchers that die, vendors that fail, people who leave, at random moments.

Belongs here: playing every moment of the plan with faults drawn from a seed, and writing down
what was done when. Keep out: whether it was right (`books.py`).
"""

import json
import threading
import time
from collections import Counter as Counts
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from activations import consent, outbox
from activations.consent import Change
from activations.settlement import settle
from sandbox.standins import StandIns
from tests.activations.dispatchers import Nursery
from tests.activations.proxies import Counter
from tests.chaos.plan import AS_OF
from warehouse import Warehouse
from warehouse import server as servers

PROVIDERS = ("sendgrid", "resend", "twilio")
KINDS = (
    "rate_limited", "unauthorized", "server_error", "error_after_accept", "reset_before",
    "reset_after_accept", "slow",
)  # fmt: skip
END = AS_OF + timedelta(days=5)
# People's events are heard until then; what they leave unknown stays unknown.
HEARD_UNTIL = AS_OF + timedelta(days=3)
# A request whose process was killed may still lie in a buffer: let it arrive before anybody leaves.
SETTLING_SECONDS = 0.05


@dataclass(frozen=True)
class Scene:
    """Everything that takes part, and the random numbers."""

    house: Warehouse
    home: Path
    nursery: Nursery
    counter: Counter
    standins: StandIns
    database_url: str
    urls: dict[str, str]
    random: np.random.Generator


@dataclass
class Diary:
    """What was done, for the books. Moments of revokes and requests are monotonic seconds."""

    faults: Counts[str] = field(default_factory=Counts)
    revoked: dict[str, float] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)
    merged: list[tuple[str, str, int]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    moments: int = 0
    position: int = 0


@contextmanager
def watched(scene: Scene, diary: Diary) -> Iterator[None]:
    """Note what the vendors take, and when its request arrived: before it was judged."""
    desk, held = scene.standins.desk, threading.local()
    append, next_fault = desk.append, desk.next_fault

    def arriving(provider: str) -> Any:
        held.at = time.monotonic()
        return next_fault(provider)

    def taking(name: str, rows: Any) -> None:
        rows = list(rows)
        if name == "accepted.jsonl":
            diary.taken += [{**row, "moment": diary.moments} for row in rows]
            diary.arrived |= {row["message_key"]: held.at for row in rows}
        append(name, rows)

    desk.next_fault, desk.append = arriving, taking  # type: ignore[method-assign]
    try:
        yield
    finally:
        desk.next_fault, desk.append = next_fault, append  # type: ignore[method-assign]


def play(scene: Scene, diary: Diary, progress: Any = print) -> None:
    """Every moment at which something is due, until nothing is."""
    now, began = AS_OF, time.monotonic()
    while (now := _next_moment(scene, now)) is not None:
        diary.moments += 1
        scene.standins.set_clock(now)
        _moment(scene, diary, now)
        _between(scene, diary, now)
        progress(
            f"{now:%a %H:%M}  {len(diary.taken):>7} taken  {len(diary.revoked):>5} revokes "
            f" {sum(diary.faults.values()):>5} faults  {time.monotonic() - began:6.1f} s"
        )


def _next_moment(scene: Scene, after: datetime) -> datetime | None:
    with scene.house.connect() as connection:
        found = [outbox.due_times(connection, after, END, name)[:1] for name in PROVIDERS]
    return min((times[0] for times in found if times), default=None)


def _moment(scene: Scene, diary: Diary, now: datetime) -> None:
    """One moment: dispatchers of every provider at once, faults, and people who leave."""
    random = scene.random
    _ail(scene, diary)
    fault = str(random.choice(["none", "kill", "sever"], p=[0.3, 0.5, 0.2]))
    scene.counter.reset(None if fault == "none" else int(random.geometric(1 / 250)),
                        "sever" if fault == "sever" else "kill")  # fmt: skip
    count = int(random.choice([1, 2, 8], p=[0.4, 0.5, 0.1]))
    crew = [name for name in PROVIDERS for _ in range(count)]
    for name in crew:
        scene.nursery.start(scene.database_url, name, scene.urls[name], now, read_seconds=0.5)
    restart = random.random() < 0.03
    leaving = threading.Thread(target=_leave, args=(scene, diary, now), daemon=True)
    leaving.start()
    if restart:
        time.sleep(float(random.random()) * 0.3)
        leaving.join()
        servers.stop(scene.home)
        servers.start(scene.home)
        diary.faults["database restarted"] += 1
    codes = scene.nursery.wait(len(crew))
    leaving.join()
    diary.faults["killed"] += codes.count(-9)
    diary.faults["ended with an error"] += sum(code > 0 for code in codes)
    time.sleep(SETTLING_SECONDS)


def _ail(scene: Scene, diary: Diary) -> None:
    for name in PROVIDERS:
        if scene.random.random() < 0.35:
            kind = str(scene.random.choice(KINDS))
            times, skip = (int(scene.random.integers(*span)) for span in ((1, 3), (0, 6)))
            scene.standins.fail(name, kind, times, skip, seconds=0.7)  # type: ignore[arg-type]
            diary.faults[f"{name} {kind}"] += times


def _leave(scene: Scene, diary: Diary, now: datetime) -> None:
    """Some of those who are still to hear from us revoke while dispatchers are at work."""
    rows = _some(scene, "status in ('planned', 'unknown', 'reserved')", 3)
    for row in rows:
        time.sleep(0.02)
        word = Change(row["channel"], row["address_hash"], "revoked", "page", now)
        consent.record(scene.house, [word])
        diary.revoked[row["message_key"]] = time.monotonic()


def _between(scene: Scene, diary: Diary, now: datetime) -> None:
    if now > HEARD_UNTIL:
        return
    _merge(scene, diary, now)
    if diary.moments % 5 == 0:
        _tell(scene, diary, now)
        settle(scene.house, now)


def _merge(scene: Scene, diary: Diary, now: datetime) -> None:
    """Two of one program turn out to be one person."""
    rows = _some(scene, "status = 'planned'", 4)
    pairs = [
        (one["person_id"], other["person_id"])
        for one, other in zip(rows[::2], rows[1::2], strict=False)
        if one["program"] == other["program"] and one["person_id"] != other["person_id"]
    ]
    known = {person for *pair, _ in diary.merged for person in pair}
    for survivor, absorbed in pairs:
        if survivor in known or absorbed in known:
            continue
        scene.house.execute(
            "insert into identity.merges values (%(i)s, %(s)s, %(a)s, %(t)s, '{}', null, null)",
            i=f"merge-{absorbed}", s=survivor, a=absorbed, t=now,
        )  # fmt: skip
        diary.merged.append((survivor, absorbed, diary.moments))
        known |= {survivor, absorbed}


def _some(scene: Scene, condition: str, most: int) -> list[dict[str, Any]]:
    """A few messages in a state, drawn by the seed."""
    count = int(scene.random.integers(0, most + 1))
    return scene.house.rows(
        "select message_key, person_id, program, channel, address_hash from delivery.messages"
        f" where {condition} order by md5(message_key || %(salt)s) limit %(count)s",
        salt=str(scene.random.integers(1 << 30)), count=count,
    )  # fmt: skip


def _tell(scene: Scene, diary: Diary, now: datetime) -> None:
    """The vendors' events about what they took, each several times and in any order."""
    news = diary.taken[diary.position :]
    diary.position = len(diary.taken)
    told = [row for row in news if scene.random.random() < 0.8]
    events = [
        (row["provider"], f"{kind}-{row['message_key']}", row["message_key"], kind)
        for row in told
        for kind in (
            "processed",
            "delivered",
            *(("bounce",) if scene.random.random() < 0.01 else ()),
        )
    ]
    for _ in range(2):
        order = scene.random.permutation(len(events))
        _land(scene.house, [events[at] for at in order], now)
    diary.faults["events told twice"] += len(events)


def _story(scene: Scene) -> tuple[str, ...]:
    bounces = scene.random.random() < 0.01
    return ("processed", "delivered", "bounce") if bounces else ("processed", "delivered")


def _land(house: Warehouse, events: list[tuple[str, str, str, str]], now: datetime) -> None:
    if not events:
        return
    table = pa.table(
        {
            "provider": [provider for provider, *_ in events],
            "provider_event_id": [name for _, name, *_ in events],
            "message_key": [key for *_, key, _ in events],
            "type": [kind for *_, kind in events],
            "occurred_at": pa.array([now] * len(events), pa.timestamp("us", tz="UTC")),
            "payload": [json.dumps({})] * len(events),
            "received_at": pa.array([now] * len(events), pa.timestamp("us", tz="UTC")),
            "batch_id": pa.array([1] * len(events), pa.int64()),
        }
    )
    with house.transaction() as connection:
        house.insert_missing(
            "raw.provider_events", table, ["provider", "provider_event_id"], connection
        )
