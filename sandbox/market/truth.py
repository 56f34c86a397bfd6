"""The truth, written beside the world for the scorecard and never read by the market.

Belongs here: what really is: who is who, who has gone, what each message and ad did. Does not
belong here: anything the loop or the market needs to go on; the folder may be deleted any time.

Files under the truth folder (parquet):
    people                    one row a person: traits, state, user and contact ids
    hours                     person, tastes list[168] (mean 1), local hours
    churn/<date>              person, as_of, no_order_60d_probability, lapsed, stage
    identifiers/<period>      person, identifier_type, identifier_value, seen_at, linked_at
    consents/<period>         channel, address, status, at, known_at
    conversions/<period>      order_id, person, ordered_at, revenue, currency, source, cause
    messages/<date>           message_key, person, program, arm, hour, probabilities
    ad_effects/<period>       date, campaign_id, channel, spend, clicks, true newcomers
"""

import shutil
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.market import ads, faults, life, population, zones
from sandbox.market.ads import AdDay
from sandbox.market.crm import Row
from sandbox.market.rendering import click_id
from sandbox.market.sessions import Told
from sandbox.market.world import (
    EMAIL_SOURCE,
    FIRST_CAMPAIGN_SOURCE,
    LOOKER,
    SMS_SOURCE,
    SOURCES,
    Columns,
    World,
)

CHURN_DAYS: Final = 60
IDENTIFIER_COLUMNS: Final = ("person", "identifier_type", "identifier_value", "seen_at",
                             "linked_at")  # fmt: skip
COOKIES_SQL: Final = """
select visitor as person, 'anonymous_id' as identifier_type,
    md5($seed || 'c' || cookie)::uuid::varchar as identifier_value, min(moment) as seen_at,
    min(case when told then moment end) as linked_at
from seen where cookie >= 0 group by visitor, cookie
union all
select visitor, 'device_id', upper(md5($seed || 'd' || device)::uuid::varchar), min(moment),
    min(moment)
from seen where device >= 0 group by visitor, device
order by 1, 2, 3
"""


def channel_of(code: int) -> str:
    """Return the channel of a source or cause code; what no marketing caused is `organic`."""
    if code == EMAIL_SOURCE:
        return "email"
    if code == SMS_SOURCE:
        return "sms"
    if code >= FIRST_CAMPAIGN_SOURCE:
        return ads.CAMPAIGNS[code - FIRST_CAMPAIGN_SOURCE].channel
    return SOURCES[code] if code >= 0 else "organic"


def cause_of(code: int) -> str:
    """Return the channel without which an order had not been placed, or `organic`."""
    if code in (EMAIL_SOURCE, SMS_SOURCE):
        return channel_of(code)
    return ads.CAMPAIGNS[code].channel if code >= 0 else "organic"


def no_order_probability(world: World, day: int, days: int = CHURN_DAYS) -> np.ndarray:
    """Return P(no order in the next `days`) per person given everything that is true today.

    Forward recursion over two states, here and lapsed; what messages or ads may yet do and new
    bad experiences are left out.
    """
    people = world.people
    here = np.where(people["lapsed"], 0.0, 1.0)
    gone = 1.0 - here
    for ahead in range(days):
        season = zones.season(world.day_start(day + ahead).timestamp() + 43_200)
        lapse = life.lapse_hazard(people, day + ahead)
        back = gone * life.REVIVAL_RATE
        here, gone = here * (1 - lapse) + back, gone - back + here * lapse
        here = here * (1 - life.purchase_hazard(people, day + ahead, season))
    return here + gone


def stages(world: World, day: int, no_order: np.ndarray) -> np.ndarray:
    """Return the true lifecycle stage: lapsed is churned, a month's acquaintance is new."""
    people = world.people
    age = day - people["signed_up_day"]
    stage = np.where(no_order > 0.6, "at_risk", "active")
    stage = np.where((age <= 30) & (people["order_count"] <= 1), "new", stage)
    return np.where(people["lapsed"], "churned", stage)


def write_people(world: World, folder: Path) -> None:
    """Write who people are and how they stand at the end of the last lived day."""
    day, people = world.lived_days, world.people
    known = np.flatnonzero(people["signed_up_day"] > -9000)
    flat = {name: values[known] for name, values in people.items() if values.ndim == 1}
    cards = [world.cards[row] for row in known]
    names = {name: [card[name] for card in cards] for name in ("user_id", "contact_id")}
    zone = [zones.PLACES[int(place)].zone for place in flat["place"]]
    _write(pa.table({"person": known, **names, "time_zone": zone, **flat}), folder, "people")
    tastes = population.hour_tastes(people, known).astype(np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(tastes.ravel()), zones.WEEK_HOURS)
    _write(pa.table({"person": known, "tastes": lists}), folder, "hours")
    probability = no_order_probability(world, day)
    churn = {
        "person": known,
        "as_of": [world.day_start(day)] * len(known),
        "no_order_60d_probability": probability[known],
        "lapse_hazard": life.lapse_hazard(people, day)[known],
        "lapsed": people["lapsed"][known],
        "stage": stages(world, day, probability)[known],
    }
    _write(pa.table(churn), folder, f"churn/{world.day_start(day):%Y-%m-%d}")


def write_identifiers(world: World, folder: Path, period: str, told: Told, events: Columns) -> None:
    """Write which identifiers each person showed, and since when they could be linked."""
    looked = events["visitor"] < LOOKER
    seen = pa.table(
        {
            "visitor": events["visitor"][looked],
            "cookie": _own(events["cookie"], faults.SHOP_COOKIE)[looked],
            "device": _own(events["device"], faults.SHOP_DEVICE)[looked],
            "moment": events["at"][looked],
            "told": (_own(events["user"], faults.NULL_USER) >= 0)[looked]
            | (events["traits"][looked] >= 0),
        }
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("seen", seen)
        seed = {"seed": f"{world.seed}|"}
        shown = connection.sql(COOKIES_SQL, params=seed).to_arrow_table()
    rows = [
        (landing["visitor"], "ad_click_id", click[1], landing["at"], landing["at"])
        for landing in told.landings
        if landing["visitor"] < LOOKER and (click := click_id(world.seed, landing))
    ]
    tables = [shown]
    if rows:
        parts = [list(part) for part in zip(*rows, strict=True)]
        tables.append(pa.table(parts, names=list(IDENTIFIER_COLUMNS)).cast(shown.schema))
    _write(pa.concat_tables(tables), folder, f"identifiers/{period}")


def _own(codes: np.ndarray, first_foreign: int) -> np.ndarray:
    """Return the codes without those of shops' tablets and of nobody."""
    return np.where(codes >= first_foreign, -1, codes)


def write_cards(world: World, folder: Path, period: str, rows: list[tuple[int, float]]) -> None:
    """Write the identifiers that came with sign-ups, (person, seconds) each."""
    found: list[tuple[int, str, str, float]] = []
    for person, at in rows:
        card = world.cards[person]
        pairs = {
            ("user_id", card["user_id"]),
            ("crm_contact_id", card["contact_id"]),
            ("crm_contact_id", card["second_contact_id"]),
            ("email", card["email"]),
            ("email", card["crm_email"]),
            ("email", card["email_alt"]),
            ("email", card["form_email"]),
            ("phone", card["phone"]),
            ("phone", card["crm_phone"]),
        }
        found += [(person, kind, value, at) for kind, value in sorted(
            pair for pair in pairs if pair[1] and not faults.names_nobody(*pair))]  # fmt: skip
    if found:
        person_, kind_, value_, at_ = (list(part) for part in zip(*found, strict=True))
        table = pa.table([person_, kind_, value_, at_, at_], names=list(IDENTIFIER_COLUMNS))
        _write(table, folder, f"identifiers/cards-{period}")


def write_consents(folder: Path, period: str, rows: list[Row], known_at: float) -> None:
    """Write consents as given or withdrawn; `known_at` is when the loop could read them."""
    kept = [
        {
            "channel": row["channel"],
            "address": row["identifier_value"].strip(),
            "status": row["status"],
            "at": row["at"],
            "known_at": max(known_at, row["at"]),
            "person": row["person"],
        }
        for row in rows
    ]
    _write_rows(kept, folder, f"consents/{period}")


def write_conversions(world: World, folder: Path, period: str, facts: list[Row]) -> None:
    """Write every order with the channel it came by and the channel that caused it."""
    kept = [
        fact
        | {
            "euro_rate": zones.EURO_RATES[fact["currency"]],
            "source": channel_of(fact["source"]),
            "cause": cause_of(fact["cause"]),
        }
        for fact in facts
    ]
    _write_rows(kept, folder, f"conversions/{period}")


def write_messages(folder: Path, period: str, rows: list[Row]) -> None:
    """Write the true probabilities behind each message heard."""
    _write_rows(rows, folder, f"messages/{period}")


def write_ads(world: World, folder: Path, period: str, days: list[tuple[int, AdDay]]) -> None:
    """Write what each campaign truly brought: newcomers and extra visits, not claims."""
    rows = [
        {
            "date": f"{world.day_start(day):%Y-%m-%d}",
            "campaign_id": campaign.campaign_id,
            "channel": campaign.channel,
            "spend": float(bought.spend[index]),
            "clicks": int(bought.clicks[index]),
            "true_newcomers": int(bought.joins[index]),
            "true_extra_visits": int(bought.revives[index]),
            "intercepted_visits": int(bought.intercepts[index]),
        }
        for day, bought in days
        for index, campaign in enumerate(ads.CAMPAIGNS)
    ]
    _write_rows(rows, folder, f"ad_effects/{period}")


def forget(folder: Path) -> None:
    """Remove a truth that belongs to no living market."""
    shutil.rmtree(folder, ignore_errors=True)


def _write_rows(rows: list[dict[str, Any]], folder: Path, name: str) -> None:
    if rows:
        _write(pa.Table.from_pylist(rows), folder, name)


def _write(table: pa.Table, folder: Path, name: str) -> None:
    path = folder / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
