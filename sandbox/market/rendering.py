"""Events as lines of JSON in the Segment spec, built by DuckDB straight from columns.

Belongs here: the words and punctuation of an event. Does not belong here: what happened
(`sessions`), which file it lands in (`landing`).
Source: the Segment spec's common fields (messageId, type, anonymousId, userId, context,
integrations aside, properties, traits, timestamp, sentAt, receivedAt).
"""

import json
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from sandbox.market import ads, faults, goods, zones
from sandbox.market.cards import Card, as_written
from sandbox.market.draws import token
from sandbox.market.faults import NULL_USER, ZERO_COOKIE, ZERO_DEVICE
from sandbox.market.sessions import FORMS, GUEST, NOBODY, SIGN_UP, Told
from sandbox.market.world import EMAIL_SOURCE, FIRST_CAMPAIGN_SOURCE, SMS_SOURCE, Columns, World

SITE: Final = "https://shop.example.com"
NAMES: Final = (
    "", "Signed Up", "", "", "", "Product Viewed", "Product Added", "Checkout Started",
    "Order Completed", "Order Refunded", "Support Ticket Opened",
)  # fmt: skip
PATHS: Final = (
    "/", "/account", "/account", "/account", "/collections", "", "/cart", "/checkout",
    "/checkout/thanks", "", "",
)  # fmt: skip
AGENTS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/18.1 Safari/605.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/140.0 Mobile",
    "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 Chrome/139.0 Mobile",
    "Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 Chrome/139.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 13; Lenovo TB350FU) AppleWebKit/537.36 Chrome/138.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "LoopShop/5.2 (mobile app)",
)  # fmt: skip
FIRST_BOT: Final = 12
APP_AGENT: Final = 15
TITLES: Final = {"/": "Home", "/account": "Account", "/collections": "Collections",
                 "/cart": "Cart", "/checkout": "Checkout", "/checkout/thanks": "Thank you",
                 "": ""}  # fmt: skip

STAMP: Final = "%Y-%m-%dT%H:%M:%S.%gZ"
LINES_SQL: Final = """
select
    received_ms,
    '{"messageId":"' || md5($seed || 'm' || key) || '","type":"' || case
        when kind in (0, 4) then case when app then 'screen' else 'page' end
        when kind = 2 then 'identify' when kind = 3 then 'alias' else 'track' end || '"'
    || case when kind in (0, 2, 3, 4) then '' else ',"event":"' || name || '"' end
    || case when kind in (0, 4) then ',"name":"' || title || '"' else '' end
    || case when cookie < 0 then ''
        else ',"anonymousId":"' || cookie_id || '"' end
    || coalesce(',"userId":"' || user_id || '"', '')
    || case when kind = 3
        then ',"previousId":"' || cookie_id || '"' else '' end
    || ',"channel":"' || case when kind >= 9 then 'server' when app then 'mobile' else 'web' end
    || '"' || case when kind = 2 then ',"traits":{' || traits || '}' else '' end
    || case when kind in (2, 3) then ''
        else ',"properties":{' || case
            when kind = 1 then traits
            when kind in (0, 4) then '"path":"' || path || '","title":"' || title || '"'
            else coalesce(property, '') end || '}' end
    || ',"context":{' || case when kind >= 9 then '"library":{"name":"shop-server"}' else
        '"page":{"path":"' || path || '","url":"' || $site || path || coalesce(query, '')
        || '","referrer":"' || referrer || '","title":"' || title || '"},"userAgent":"' || agent
        || '","ip":"' || ip || (1 + abs(cookie // 4096) % 253) || '",' || place
        || coalesce(',"campaign":' || campaign, '')
        || case when device >= 0 then ',"device":{"id":"'
            || case when device = $zero_device then $zeros
                else upper(md5($seed || 'd' || device)::uuid::varchar) end
            || '","type":"mobile"}'
            else '' end
        end || '},"timestamp":"' || strftime(epoch_ms(at_ms), $stamp)
    || '","sentAt":"' || strftime(epoch_ms(received_ms - 120), $stamp)
    || '","receivedAt":"' || strftime(epoch_ms(received_ms), $stamp) || '"}' || chr(10)
    as line
from (
    select *, case when cookie = $zero_cookie then $zeros
        else md5($seed || 'c' || cookie)::uuid::varchar end as cookie_id
    from events
)
"""


def lines_of(connection: duckdb.DuckDBPyConnection, world: World, table: pa.Table) -> pa.Table:
    """Return (received_ms, line ending in a line feed) for each row made by `readable`."""
    connection.register("events", table)
    parameters = {
        "seed": f"{world.seed}|",
        "site": SITE,
        "stamp": STAMP,
        "zeros": faults.ZEROS,
        "zero_cookie": ZERO_COOKIE,
        "zero_device": ZERO_DEVICE,
    }
    return connection.sql(LINES_SQL, params=parameters).to_arrow_table()


def readable(world: World, told: Told, events: Columns) -> pa.Table:
    """Replace the codes of events by dictionary-encoded words, one row an event."""
    shop = goods.catalogue(world.seed)
    kind, slot, place = (events[name].astype(np.int64) for name in ("kind", "slot", "place"))
    product_count = len(shop.ids)
    page = np.where(events["page"] >= 1000, product_count + kind, events["page"])
    paths = [shop.url(index) for index in range(product_count)] + list(PATHS)
    titles = list(shop.names) + [TITLES[path] for path in PATHS]
    agent = np.where(events["app"], APP_AGENT, np.maximum(slot, 0) * 4 + events["agent"])
    agent = np.where(events["agent"] >= 100, FIRST_BOT + events["agent"] - 100, agent)
    queries = [_query(world.seed, landing) for landing in told.landings]
    campaigns = [_campaign(landing) for landing in told.landings]
    return pa.table(
        {
            "key": events["key"],
            "kind": kind,
            "app": events["app"],
            "cookie": events["cookie"],
            "device": events["device"],
            "at_ms": np.round(events["at"] * 1000).astype(np.int64),
            "received_ms": np.round(events["received"] * 1000).astype(np.int64),
            "name": _words(kind, NAMES),
            "path": _words(page, paths),
            "title": _words(page, titles),
            "user_id": _named(
                events["user"],
                lambda row: "null" if row == NULL_USER else world.cards[row]["user_id"],
            ),
            "traits": _named(
                events["traits"], lambda code: _traits(world.cards[code // FORMS], code % FORMS)
            ),
            "property": _words(events["property"], _products(world) + told.texts),
            "agent": _words(np.maximum(agent, 0), AGENTS),
            "ip": _words(place % 3, ("203.0.113.", "198.51.100.", "192.0.2.")),
            "place": _words(
                place,
                [f'"locale":"{row.locale}","timezone":"{row.zone}"' for row in zones.PLACES],
            ),
            "referrer": _named(events["source"] + 1, lambda code: _referrer(code - 1)),
            "query": _words(events["landing"], queries),
            "campaign": _words(events["landing"], campaigns),
        }
    )


def _words(codes: np.ndarray, words: Any) -> pa.Array:
    """Return words by position, null for negative codes."""
    codes = np.asarray(codes)
    indices = pa.array(np.maximum(codes, 0).astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(words), pa.string()))


def _named(codes: np.ndarray, word: Any) -> pa.Array:
    """Return words for sparse codes, each made once; null for negative codes."""
    distinct, positions = np.unique(codes, return_inverse=True)
    words = [word(int(code)) if code >= 0 else "" for code in distinct]
    return _words(np.where(codes < 0, NOBODY, positions), words)


def _products(world: World) -> list[str]:
    shop = goods.catalogue(world.seed)
    return [
        f'"product_id":"{shop.ids[index]}","name":"{shop.names[index]}",'
        f'"category":"{shop.categories[index]}","price":{shop.price(index, currency)},'
        f'"currency":"{currency}","url":"{SITE}{shop.url(index)}"'
        for index in range(len(shop.ids))
        for currency in zones.CURRENCIES
    ]


def _traits(card: Card, form: int) -> str:
    """Return what a form tells: everything at a sign-up, an e-mail address from a guest."""
    email = card["email"]
    if form == SIGN_UP:
        email = card["form_email"] or email
    elif form == GUEST:
        email = card["email_alt"] or card["form_email"] or email
    told = {"email": as_written(email, int(card["contact_id"][1:]))}
    if form != GUEST:
        told |= {"first_name": card["first_name"], "last_name": card["last_name"]}
        if card["phone"]:
            told["phone"] = card["phone"]
    return json.dumps(told, ensure_ascii=False)[1:-1]


def _referrer(source: int) -> str:
    if source < 0:
        return f"{SITE}/"
    if FIRST_CAMPAIGN_SOURCE <= source < FIRST_CAMPAIGN_SOURCE + len(ads.CAMPAIGNS):
        platform = ads.CAMPAIGNS[source - FIRST_CAMPAIGN_SOURCE].platform
        return "https://www.google.com/" if platform == "google" else "https://l.facebook.com/"
    return {
        1: "https://www.google.com/",
        2: "https://blog.gifts.example/best-of",
        3: "https://www.instagram.com/",
    }.get(source, "")


def origin(landing: dict[str, Any]) -> tuple[str, str, str]:
    """Return utm_source, utm_medium and utm_campaign of a visit from elsewhere."""
    source = landing["source"]
    if source in (EMAIL_SOURCE, SMS_SOURCE):
        return "loopdrive", "email" if source == EMAIL_SOURCE else "sms", landing["tag"][0]
    if source == 4:
        return "newsletter", "email", "newsletter"
    campaign = ads.CAMPAIGNS[source - FIRST_CAMPAIGN_SOURCE]
    medium = "paid_social" if campaign.platform == "meta" else "cpc"
    return campaign.platform, medium, campaign.campaign_id


def click_id(seed: int, landing: dict[str, Any]) -> tuple[str, str] | None:
    """Return the ad platform's click id of a landing, as (parameter, value)."""
    position = landing["source"] - FIRST_CAMPAIGN_SOURCE
    if not 0 <= position < len(ads.CAMPAIGNS):
        return None
    campaign = ads.CAMPAIGNS[position]
    value = token(seed, "click", landing["visitor"], landing["at"], length=28)
    # One click in twelve comes from a phone where only the aggregated parameter is passed on.
    aggregated = campaign.click_id == "gclid" and value.endswith("0")
    return ("gbraid" if aggregated else campaign.click_id), f"{campaign.click_id[0]}.{value}"


def _query(seed: int, landing: dict[str, Any]) -> str:
    source, medium, name = origin(landing)
    query = f"?utm_source={source}&utm_medium={medium}&utm_campaign={name}"
    if landing["tag"]:
        query += f"&utm_content={landing['tag'][1]}"
    click = click_id(seed, landing)
    return query + (f"&{click[0]}={click[1]}" if click else "")


def _campaign(landing: dict[str, Any]) -> str:
    source, medium, name = origin(landing)
    return json.dumps({"source": source, "medium": medium, "name": name})
