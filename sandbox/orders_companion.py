"""What real order lines lack, made up around them: cards, consents, visits, ads, answers.

Belongs here: everything simulated beside a real order source. Does not belong here: purchases;
real orders are real, and no message of the loop changes them. Every file this module writes is
invented and marked so (`simulated` evidence, `context.library.name`, ad account names).

The source has the columns of the UCI Online Retail data: InvoiceNo, StockCode, Description,
Quantity, InvoiceDate (shop's local time), UnitPrice, CustomerID, Country.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from sandbox.market import crm, effects, reactions
from sandbox.market.cards import FIRST_NAMES, LAST_NAMES, MAIL_DOMAINS, PLAIN
from sandbox.market.draws import generator, token, uniforms
from sandbox.market.goods import rate_rows
from sandbox.market.hearing import accepted_after, is_answered
from sandbox.market.landing import land, packed_block, plain, table
from sandbox.market.reactions import Answers, Message, Odds
from sandbox.market.rendering import AGENTS, SITE

SHOP_ZONE: Final = ZoneInfo("Europe/London")
CITIES: Final = ("London", "Leeds", "Bristol", "York", "Bath", "Derby")
DAILY_SPEND: Final = {
    ("meta", "meta_prospecting", "paid_social"): 22.0,
    ("meta", "meta_retargeting", "paid_social"): 11.0,
    ("meta", "meta_lookalike", "paid_social"): 16.0,
    ("google", "google_brand", "paid_search"): 12.0,
    ("google", "google_generic", "paid_search"): 26.0,
    ("google", "google_shopping", "paid_search"): 19.0,
}
CUSTOMERS_SQL: Final = r"""
select regexp_replace(trim(CustomerID), '^(\d+)\.0$', '\1') as customer,
    min(InvoiceDate) as first_at, max(InvoiceDate) as last_at, any_value(Country) as country
from read_parquet($path) where CustomerID is not null and trim(CustomerID) <> ''
group by 1 order by 1
"""
INVOICES_SQL: Final = r"""
select InvoiceNo as invoice, min(InvoiceDate) as at,
    any_value(regexp_replace(trim(CustomerID), '^(\d+)\.0$', '\1')) as customer,
    list(StockCode order by StockCode)[1:3] as products
from read_parquet($path)
where CustomerID is not null and trim(CustomerID) <> '' and InvoiceNo not like 'C%'
    and InvoiceDate > $since and InvoiceDate <= $until
group by 1 order by 2, 1
"""
PRODUCTS_SQL: Final = """
select StockCode as product_id, mode(Description) as name,
    round(median(UnitPrice) filter (where UnitPrice > 0), 2) as price
from read_parquet($path) where StockCode is not null group by 1 order by 1
"""


class Simulation(Protocol):
    """What the companion needs to know of the settings."""

    @property
    def seed(self) -> int: ...
    @property
    def orders(self) -> Path | None: ...


def found(
    simulation: Simulation, workspace_home: Path, as_of: datetime, currency: str = "GBP"
) -> list[Path]:
    """Write cards, consents, products and a history of visits and ads up to `as_of`, once.

    Raises:
        FileNotFoundError: the order file is missing; the message names it.
    """
    state = workspace_home / "sandbox" / "state" / "companion.json"
    if state.exists():
        return []
    path = _source(simulation)
    customers = _rows(CUSTOMERS_SQL, path=str(path))
    cards = [_card(simulation.seed, row) for row in customers]
    first = min((row["first_at"] for row in customers), default=as_of.replace(tzinfo=None))
    consents = [row for card in cards for row in _consents(simulation.seed, card)]
    products = [_product(row, currency) for row in _rows(PRODUCTS_SQL, path=str(path))]
    landing = workspace_home / "landing"
    files = [
        land(landing / "crm_contacts" / "history.csv", table(crm.CONTACT_COLUMNS, cards)),
        land(landing / "crm_consents" / "history.csv", table(crm.CONSENT_COLUMNS, consents)),
        land(landing / "products" / "history.csv", table(crm.PRODUCT_COLUMNS, products)),
    ]
    since = _utc(first) - timedelta(days=1)
    files += _window(simulation, workspace_home, since, as_of, "history", currency, [])
    _keep(state, {"told_until": as_of.isoformat(), "heard": 0, "late": []})
    return [file for file in files if file]


def live(
    simulation: Simulation, workspace_home: Path, as_of: datetime, currency: str = "GBP"
) -> list[Path]:
    """Let a stretch of time pass: visits around real orders, ads, answers to messages."""
    path = workspace_home / "sandbox" / "state" / "companion.json"
    if not path.exists():
        return found(simulation, workspace_home, as_of, currency)
    state = json.loads(path.read_text())
    since = datetime.fromisoformat(state["told_until"])
    if as_of <= since:
        return []
    messages = accepted_after(workspace_home / "sandbox" / "accepted.jsonl", state["heard"])
    answers, visits = _answers(simulation.seed, [m for m in messages if is_answered(m)])
    late = sorted([tuple(entry) for entry in state["late"]] + answers.webhooks)
    lines = sorted([tuple(entry) for entry in state.get("late_visits", [])] + visits)
    until = as_of.timestamp()
    whole = as_of - since == timedelta(days=1)
    name = f"{as_of:%Y-%m-%d}" if whole else f"{as_of.astimezone(UTC):%Y-%m-%dT%H%M}"
    due = [line for at, line in lines if at <= until]
    files = _window(simulation, workspace_home, since, as_of, name, currency, due)
    told = plain([line for at, line in late if at <= until])
    files.append(land(workspace_home / "landing" / "provider_events" / f"{name}.jsonl", told))
    kept = {
        "told_until": as_of.isoformat(),
        "heard": state["heard"] + len(messages),
        "late": [entry for entry in late if entry[0] > until],
        "late_visits": [entry for entry in lines if entry[0] > until],
    }
    _keep(path, kept)
    return [file for file in files if file]


def _source(simulation: Simulation) -> Path:
    if simulation.orders is None or not Path(simulation.orders).exists():
        raise FileNotFoundError(f"simulation.orders: no order file at {simulation.orders}")
    return Path(simulation.orders)


def _rows(query: str, **parameters: object) -> list[dict[str, Any]]:
    with duckdb.connect(config={"threads": 1}) as connection:
        return connection.sql(query, params=parameters).to_arrow_table().to_pylist()


def _utc(local: datetime) -> datetime:
    return local.replace(tzinfo=SHOP_ZONE).astimezone(UTC)


def _keep(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(state, sort_keys=True))
    fresh.replace(path)


def _number(*parts: object) -> int:
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _card(seed: int, row: dict[str, Any]) -> crm.Row:
    """Return an invented card of a real customer number."""
    customer = row["customer"]
    pick = _number(seed, "card", customer)
    first = FIRST_NAMES[pick % len(FIRST_NAMES)]
    last = LAST_NAMES[(pick >> 8) % len(LAST_NAMES)]
    plain_name = f"{first}.{last}".lower().translate(PLAIN)
    phone = f"+447400{(pick >> 20) % 1_000_000:06d}" if pick % 10 < 7 else ""
    return {
        "contact_id": customer,
        "email": f"{plain_name}.{customer}@{MAIL_DOMAINS[(pick >> 16) % len(MAIL_DOMAINS)]}",
        "phone": phone,
        "first_name": first,
        "last_name": last,
        "city": CITIES[(pick >> 40) % len(CITIES)],
        "region": "",
        "country": "GB",
        "postal_code": "",
        "birth_date": "",
        "time_zone": str(SHOP_ZONE),
        "locale": "en-GB",
        "updated_at": crm.iso(_utc(row["first_at"]).timestamp()),
        "user_id": f"u_{token(seed, 'user', customer, length=12)}",
    }


def _consents(seed: int, card: crm.Row) -> Iterator[crm.Row]:
    for channel, kind, share in (("email", "email", 78), ("sms", "phone", 45)):
        if not card[kind]:
            continue
        chance = _number(seed, "consent", channel, card["contact_id"]) % 100
        if chance >= share + 12:
            continue
        yield {
            "identifier_type": kind,
            "identifier_value": card[kind],
            "channel": channel,
            "scope": "marketing",
            "status": "granted" if chance < share else "revoked",
            "regulation": "UK GDPR",
            "evidence": "simulated",
            "recorded_at": card["updated_at"],
        }


def _product(row: dict[str, Any], currency: str) -> crm.Row:
    name = (row["name"] or row["product_id"]).strip()
    return {
        "product_id": row["product_id"],
        "name": name,
        "category": name.split()[-1].lower(),
        "price_amount": f"{row['price']:.2f}" if row["price"] else "",
        "currency": currency,
        "url": f"{SITE}/products/{row['product_id'].lower()}",
        "image_url": "",
        "in_stock": "true",
        "description": name,
    }


def _window(
    simulation: Simulation, home: Path, since: datetime, until: datetime, name: str,
    currency: str, more: list[str],
) -> list[Path | None]:  # fmt: skip
    """Write the visits, ads and rates of (since, until]; `more` are further event lines."""
    local = [moment.astimezone(SHOP_ZONE).replace(tzinfo=None) for moment in (since, until)]
    invoices = _rows(INVOICES_SQL, path=str(_source(simulation)), since=local[0], until=local[1])
    lines = [line for invoice in invoices for line in _visit(simulation.seed, invoice)]
    text = "".join(line + "\n" for line in [*lines, *more])
    first, last = since.date() + timedelta(days=1), until.date()
    spend = list(_spend(simulation.seed, home, first, last, currency))
    rates = [row for row in rate_rows(simulation.seed, currency, first, last)]
    landing = home / "landing"
    return [
        land(landing / "segment" / f"{name}.jsonl.gz", packed_block([text.encode()])),
        land(landing / "ad_spend" / f"{name}.csv", table(crm.SPEND_COLUMNS, spend)),
        land(landing / "currency_rates" / f"{name}.csv", table(crm.RATE_COLUMNS, rates)),
    ]


def _visit(seed: int, invoice: dict[str, Any]) -> Iterator[str]:
    """Yield the events of a visit shortly before a real order; a third came by an ad."""
    pick = _number(seed, "visit", invoice["invoice"])
    customer = invoice["customer"]
    ordered = _utc(invoice["at"]).timestamp()
    start = ordered - 240.0 - (pick >> 12) % 1500
    landing = _landing(seed, invoice["invoice"], pick)
    yield _event(seed, invoice["invoice"], 0, customer, start, landing, None)
    for position, product in enumerate(invoice["products"], start=1):
        at = start + position * 45.0
        yield _event(seed, invoice["invoice"], position, customer, at, None, product)


def _landing(seed: int, key: str, pick: int) -> dict[str, str]:
    if pick % 100 >= 34:
        return {"query": "", "referrer": "https://www.google.com/" if pick % 2 else ""}
    platform, campaign, _ = list(DAILY_SPEND)[pick % len(DAILY_SPEND)]
    medium = "paid_social" if platform == "meta" else "cpc"
    parameter = "fbclid" if platform == "meta" else "gclid"
    query = f"?utm_source={platform}&utm_medium={medium}&utm_campaign={campaign}"
    click = token(seed, "click", key, length=28)
    return {
        "query": f"{query}&{parameter}={parameter[0]}.{click}",
        "referrer": f"https://www.{'facebook' if platform == 'meta' else 'google'}.com/",
    }


def _event(
    seed: int, key: str, position: int, customer: str, at: float,
    landing: dict[str, str] | None, product: str | None,
) -> str:  # fmt: skip
    path = f"/products/{product.lower()}" if product else "/"
    page = {"path": path, "url": f"{SITE}{path}{landing['query'] if landing else ''}"}
    page |= {"referrer": landing["referrer"] if landing else f"{SITE}/", "title": ""}
    kind: dict[str, Any] = {"type": "page", "name": "Home"}
    if product:
        kind = {"type": "track", "event": "Product Viewed"}
    body = {
        "messageId": token(seed, "event", key, position, length=32),
        **kind,
        "anonymousId": token(seed, "cookie", customer, length=24),
        "userId": f"u_{token(seed, 'user', customer, length=12)}",
        "channel": "web",
        "properties": {"product_id": product} if product else {"path": path},
        "context": {
            "page": page,
            "userAgent": AGENTS[_number(seed, customer) % 12],
            "locale": "en-GB",
            "timezone": str(SHOP_ZONE),
            "library": {"name": "simulated"},
        },
        "timestamp": crm.iso(at),
        "sentAt": crm.iso(at + 0.4),
        "receivedAt": crm.iso(at + 0.5),
    }
    return json.dumps(body)


def _spend(seed: int, home: Path, first: date, last: date, currency: str) -> Iterator[crm.Row]:
    published = home / "sandbox" / "budgets.json"
    budgets = json.loads(published.read_text()) if published.exists() else {}
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        rng = generator(seed, "companion", day.toordinal() - 700_000)
        draw = rng.lognormal(0.0, 0.12, (len(DAILY_SPEND), 3))
        for index, ((platform, campaign, channel), usual) in enumerate(DAILY_SPEND.items()):
            entry = budgets.get(platform, {}).get(campaign)
            budget = float(entry["amount"]) if entry else usual
            spend = budget * min(float(draw[index, 0]), 1.04)
            clicks = round(40 * (1 - np.exp(-spend / 40)) * float(draw[index, 1]))
            yield {
                "date": day.isoformat(),
                "platform": platform,
                "account_id": "simulated",
                "campaign_id": campaign,
                "campaign_name": f"{campaign} (simulated)",
                "ad_set_id": f"{campaign}_a",
                "channel": channel,
                "impressions": clicks * 80 + 25,
                "clicks": clicks,
                "spend_amount": f"{spend:.2f}",
                "currency": currency,
                "platform_conversions": round(0.05 * clicks * float(draw[index, 2])),
                "platform_revenue_amount": f"{0.05 * clicks * 300 * float(draw[index, 2]):.2f}",
            }


def _answers(seed: int, messages: list[Message]) -> tuple[Answers, list[tuple[float, str]]]:
    """Let invented readers of real customers answer; they click and look, they do not buy."""
    if not messages:
        return Answers(), []
    addresses = [message["address"].lower() for message in messages]
    traits = _reader_traits(seed, addresses)
    click = np.array(
        [
            effects.click_probability(
                {name: values[[row]] for name, values in traits.items()},
                message["program"],
                message["arm"],
            )[0]
            for row, message in enumerate(messages)
        ]
    )
    chance = uniforms(seed, addresses, "mailbox", 2)
    nothing = np.zeros(len(messages))
    odds = Odds(
        click, nothing, nothing + 0.004, chance[:, 0] < 0.42, chance[:, 1] < 0.02, nothing + 0.006
    )
    answers = reactions.answer(seed, messages, odds, view_through=0.0)
    visits = [_clicked(seed, messages[index], at) for index, at in answers.clicks]
    return answers, visits


def _reader_traits(seed: int, addresses: list[str]) -> dict[str, np.ndarray]:
    draw = uniforms(seed, addresses, "reader", 7)
    flat = np.zeros(len(addresses))
    return {
        "price_sensitivity": np.where(draw[:, 0] < 0.5, 0.15 * draw[:, 1], 1 - 0.3 * draw[:, 1]),
        "forgetfulness": np.where(draw[:, 2] < 0.5, 0.0, draw[:, 2]),
        "novelty": np.where(draw[:, 3] < 0.65, 0.0, draw[:, 3]),
        "sociability": draw[:, 4],
        "email_taste": draw[:, 5],
        "sms_taste": draw[:, 6],
        "never_buys": flat,
        "lapsed": flat,
        "fatigue": flat,
    }


def _clicked(seed: int, message: Message, at: float) -> tuple[float, str]:
    """Return the landing of a click: known by the address alone, so identity has work to do."""
    query = (
        f"?utm_source=loopdrive&utm_medium={message['channel']}"
        f"&utm_campaign={message['program']}&utm_content={message['arm']}"
    )
    landing = {"query": query, "referrer": ""}
    line = json.loads(
        _event(seed, message["message_key"], 0, message["address"], at, landing, None)
    )
    line.pop("userId")
    kind = "email" if message["channel"] == "email" else "phone"
    line["properties"][kind] = message["address"]
    line["context"]["campaign"] = {
        "source": "loopdrive", "medium": message["channel"], "name": message["program"],
    }  # fmt: skip
    return round(at + 0.5, 3), json.dumps(line)
