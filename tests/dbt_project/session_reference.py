"""A slow reference for sessions, and random streams to hold the model against it.

Belongs here: sessions as one would draw them on paper. Keep out: the model, and what it is fed by.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
from hypothesis import strategies as st

from warehouse import Warehouse

Row = dict[str, Any]

START = datetime(2026, 3, 1, tzinfo=UTC)
GAP = timedelta(minutes=30)


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    """Few or many events of three persons, in any order, at whole and just not whole half hours."""
    rows, at = [], START
    for number in range(draw(st.sampled_from((1, 2, 12, 25, 40)))):
        minutes = draw(st.sampled_from((0, 0, 0, 1, 1, 10, 29, 30, 31, 200)))
        at += timedelta(minutes=minutes, microseconds=draw(st.sampled_from((0, 0, 1))))
        rows.append(
            {
                "event_id": f"e{draw(st.integers(0, 9))}-{number}",
                "who": draw(st.integers(0, 2)),
                "set": draw(st.integers(0, 1)),
                "occurred_at": at,
                "is_bot": draw(st.integers(0, 9)) == 0,
                "is_visit": draw(st.integers(0, 9)) > 0,
                "utm_campaign": draw(st.sampled_from((*(None,) * 8, "spring", "summer"))),
                "click_id_type": draw(st.sampled_from((*(None,) * 12, "gclid"))),
            }
        )
    return draw(st.permutations(rows))


def reference(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Sessions by walking over each lane's events, as a person would with paper and pencil."""
    lanes: dict[tuple[int, bool], list[Row]] = defaultdict(list)
    for row in rows:
        if row["is_visit"]:
            lanes[(row["who"], row["is_bot"])].append(row)
    sessions = []
    for (who, is_bot), lane in lanes.items():
        lane.sort(key=lambda row: (row["occurred_at"], row["event_id"]))
        open_session: list[Row] = []
        campaign: tuple[Any, ...] | None = None
        for row in lane:
            own = (row["utm_campaign"], row["click_id_type"])
            paused = not open_session or row["occurred_at"] - open_session[-1]["occurred_at"] > GAP
            if paused or (any(own) and own != campaign):
                if open_session:
                    sessions.append(_closed(who, is_bot, open_session))
                open_session = []
            if paused:
                campaign = None
            campaign = own if any(own) else campaign
            open_session.append(row)
        sessions.append(_closed(who, is_bot, open_session))
    return sorted(sessions, key=str)


def _closed(who: int, is_bot: bool, rows: Sequence[Row]) -> tuple[Any, ...]:
    kind = "bot" if is_bot else "person"
    first, last = rows[0], rows[-1]
    brought = (first["utm_campaign"], first["click_id_type"])
    span = (first["occurred_at"], last["occurred_at"])
    return (f"p{who}", kind, *span, len(rows), first["event_id"], *brought)


def stand(warehouse: Warehouse, rows: Sequence[Row]) -> None:
    """Put a stream where the model reads it: two sets of identifiers for each person."""
    warehouse.execute(
        "truncate identity.int_persons_touched, identity.int_identifier_sets_resolved,"
        " identity.int_events_linked"
    )
    warehouse.append(
        "identity.int_persons_touched",
        pa.Table.from_pylist([{"person_id": f"p{who}", "batch_id": 1} for who in range(3)]),
    )
    for row in rows:
        warehouse.execute(
            "insert into identity.int_events_linked (event_id, set_id, occurred_at, is_visit,"
            " is_bot, utm_campaign, click_id_type, batch_id) values (%(event_id)s, %(set_id)s,"
            " %(occurred_at)s, %(is_visit)s, %(is_bot)s, %(utm_campaign)s, %(click_id_type)s, 1)",
            set_id=_set_id(row["who"], row["set"]),
            **{key: value for key, value in row.items() if key not in ("who", "set")},
        )
    for who in range(3):
        for number in range(2):
            warehouse.execute(
                "insert into identity.int_identifier_sets_resolved (set_id, person_id)"
                " values (%(set_id)s, %(person_id)s)",
                set_id=_set_id(who, number),
                person_id=f"p{who}",
            )


def _set_id(who: int, number: int) -> UUID:
    return UUID(int=who * 2 + number)
