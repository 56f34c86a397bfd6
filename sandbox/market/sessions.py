"""A visit as the tracker sees it: cookies, log-ins, sign-ups and the events in between.

Belongs here: how visits become events and which identifiers each event carries. Does not belong
here: why there is a visit (`life`), how an event is written (`rendering`).
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from sandbox.market import faults, goods, orders, zones
from sandbox.market.draws import generator
from sandbox.market.faults import EPOCHS, NULL_USER, ZERO_COOKIE, ZERO_DEVICE
from sandbox.market.world import BROWSE, BUY, CART, LOOKER, TICKET, Columns, World, empty, stacked

PAGE, SIGNED_UP, IDENTIFY, ALIAS, LIST, VIEWED, ADDED, CHECKOUT, ORDER, REFUNDED, TICKETED = range(
    11
)
BLOCKS: Final = (PAGE, SIGNED_UP, IDENTIFY, ALIAS, LIST, VIEWED, ADDED, CHECKOUT, ORDER)
NOBODY: Final = -1
# What a form is told: the account's own data, a guest's address, the first try at a sign-up.
ACCOUNT, GUEST, SIGN_UP = range(3)
FORMS: Final = 4

EVENT_TYPES: Final[dict[str, str]] = {
    "at": "f8", "received": "f8", "key": "i8", "kind": "i1", "cookie": "i8", "device": "i8",
    "user": "i8", "traits": "i8", "property": "i8", "page": "i4", "landing": "i8",
    "source": "i2", "slot": "i1", "agent": "i2", "place": "i2", "app": "?", "visitor": "i8",
}  # fmt: skip


@dataclass
class Told:
    """Events of one or many days, with the texts their codes point to.

    `property` codes below `len(products) * len(currencies)` name a product in a currency, those
    above point into `texts`; `landing` points into `landings` (visits from elsewhere).
    """

    parts: list[Columns] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    landings: list[dict[str, Any]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    signups: list[tuple[int, float]] = field(default_factory=list)

    def events(self) -> Columns:
        """Return all events in the order they were received."""
        together = stacked([empty(EVENT_TYPES), *self.parts])
        order = np.lexsort((together["key"], together["received"]))
        return {name: values[order] for name, values in together.items()}


def tell_day(world: World, day: int, visits: Columns, told: Told) -> None:
    """Add a day's visits, refunds and tickets to `told`; updates what people remember."""
    rng = generator(world.seed, "sessions", day)
    seen = visits | _recognise(world, day, visits, rng)
    seen |= _misread(seen, generator(world.seed, "faults", day + 50_000))
    product, quantity = orders.shelves(world, day, seen)
    counts, items = _plan(seen, rng)
    kinds, visit, at = _unfold(seen, counts, rng)
    placed_at = np.zeros(len(seen["at"]))
    placed_at[visit[kinds == ORDER]] = at[kinds == ORDER]
    placed = orders.place_orders(world, day, seen, product, quantity, items, placed_at)
    events = _identified(seen, kinds, visit, at, day)
    events["property"] = _properties(world, seen, kinds, visit, product, placed, told)
    events["landing"] = _landings(world, seen, kinds, visit, told)
    shelf = product[visit, _position(visit) % orders.SHELF]
    events["page"] = np.where(kinds == VIEWED, shelf, 1000 + kinds)
    told.parts.append(_arrived(events, generator(world.seed, "events", day)))
    told.facts.extend(placed.facts)
    fresh = seen["signs_up"]
    told.signups.extend(zip(seen["visitor"][fresh].tolist(), seen["at"][fresh].tolist(),
                            strict=True))  # fmt: skip
    _remember_orders(world, day, seen)
    end = world.day_start(day + 1).timestamp()
    told.parts.append(_server_events(world, day, orders.due_chores(world, end), told))


def _recognise(
    world: World, day: int, visits: Columns, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Decide who signs up or logs in and which cookie and device each visit shows."""
    people = world.people
    visitor, slot = visits["visitor"], visits["slot"].astype(np.int64)
    count = len(visitor)
    draw = rng.random((count, 4))
    is_person = visitor < LOOKER
    person = np.where(is_person, visitor, 0)
    first = np.zeros(count, dtype=bool)
    first[np.unique(visitor, return_index=True)[1]] = True
    known = is_person & (people["signed_up_day"][person] > -9000)
    due = people["visit_count"][person] + 1 >= people["signup_visit"][person]
    signs_up = is_person & ~known & first & due
    visits["intent"][(visits["intent"] == BUY) & ~known & ~signs_up] = CART
    app = is_person & (slot == 1) & people["has_app"][person]
    in_shop = (signs_up & (draw[:, 1] < faults.SHOP_SIGN_UPS)) | (
        known & (draw[:, 1] > 1 - faults.SHOP_VISITS)
    )
    in_shop &= ~app
    cookie, device = _shown(world, visits, app, draw[:, 0])
    shop_cookie, shop_device = faults.in_shops(
        generator(world.seed, "faults", day), visits["place"]
    )
    cookie = np.where(in_shop, shop_cookie, cookie)
    device = np.where(in_shop, shop_device, device)
    stays = known & people["cookie_known"][person, slot] & ~in_shop
    logged_in = stays & (draw[:, 2] < people["stays_logged_in"][person])
    buys = visits["intent"] == BUY
    guest = buys & known & ~logged_in & (draw[:, 3] < 0.10)
    wants = np.where(buys, 1.0, np.where(visits["intent"] == CART, 0.55, 0.22))
    identifies = signs_up | (known & ~logged_in & ~guest & (draw[:, 3] > 1 - wants))
    tells = identifies | guest
    people["cookie_known"][person[tells & ~in_shop], slot[tells & ~in_shop]] = True
    people["signed_up_day"][person[signs_up]] = day
    np.add.at(people["visit_count"], visitor[is_person], 1)
    return {
        "cookie": cookie,
        "device": device,
        "app": app,
        "signs_up": signs_up,
        "identifies": identifies,
        "logged_in": logged_in,
        "guest": guest,
    }


def _shown(
    world: World, visits: Columns, app: np.ndarray, draw: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cookie and device of each visit; browsers drop cookies now and then."""
    people = world.people
    visitor, slot = visits["visitor"], visits["slot"].astype(np.int64)
    is_person = visitor < LOOKER
    person = np.where(is_person, visitor, 0)
    # Some browsers drop cookies within weeks, the others nearly never; apps keep theirs.
    reset = draw < np.where(people["resets_cookies"][person, slot], 0.07, 0.006)
    reset &= is_person & ~app
    people["cookie_epochs"][person[reset], slot[reset]] += 1
    people["cookie_known"][person[reset], slot[reset]] = False
    # Telephones are their owners' own; the computer and the tablet are the household's.
    shared = is_person & (slot != 1) & people["shares_device"][person]
    owner = np.where(shared, people["household"][person], person)
    cookie = np.where(
        is_person,
        (owner * 4 + slot) * EPOCHS + people["cookie_epochs"][owner, slot],
        (visitor * 4 + slot) * EPOCHS,
    )
    # On a tablet the shop is an app, which shows the tablet, whoever holds it.
    tablet = is_person & (slot == 2)
    device = np.where(app, visitor * 4 + 1, np.where(tablet, owner * 4 + 2, NOBODY))
    return cookie, device


def _misread(seen: Columns, rng: np.random.Generator) -> Columns:
    """Let the tracker fail: zeros for a cookie or a device, the text "null" for a user."""
    draw = rng.random((len(seen["at"]), 3))
    zero_cookie = draw[:, 0] < faults.TRACKER_FAULTS
    zero_device = (draw[:, 1] < 10 * faults.TRACKER_FAULTS) & (seen["device"] >= 0)
    return {
        "cookie": np.where(zero_cookie, ZERO_COOKIE, seen["cookie"]),
        "device": np.where(zero_device, ZERO_DEVICE, seen["device"]),
        "null_user": draw[:, 2] < faults.TRACKER_FAULTS,
    }


def _plan(seen: Columns, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of events per visit and block (n, 9), and the items of each basket."""
    count = len(seen["at"])
    intent = seen["intent"]
    items = np.minimum(1 + rng.poisson(0.9, count), orders.BASKET)
    looker = seen["visitor"] >= LOOKER
    views = rng.geometric(np.where(looker, 0.62, 0.44), count) - 1
    views = np.minimum(np.where(intent == BROWSE, views, np.maximum(views, items)), 9)
    counts = np.zeros((count, len(BLOCKS)), dtype=np.int64)
    counts[:, PAGE] = 1
    counts[:, SIGNED_UP] = seen["signs_up"]
    counts[:, IDENTIFY] = seen["identifies"] | seen["guest"]
    counts[:, ALIAS] = seen["signs_up"] & seen["app"]
    counts[:, LIST] = rng.random(count) < 0.42
    counts[:, VIEWED] = views
    counts[:, ADDED] = np.where(intent == BROWSE, 0, items)
    counts[:, CHECKOUT] = (intent == BUY) | ((intent == CART) & (rng.random(count) < 0.3))
    counts[:, ORDER] = intent == BUY
    return counts, items


def _unfold(
    seen: Columns, counts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kind, visit row and instant of every event, visits one after the other."""
    visit = np.repeat(np.arange(len(counts)), counts.sum(axis=1))
    kinds = np.repeat(np.tile(np.array(BLOCKS), len(counts)), counts.ravel())
    gaps = np.minimum(rng.lognormal(3.3, 1.0, len(visit)), 1200.0)
    gaps[(kinds == SIGNED_UP) | (kinds == IDENTIFY) | (kinds == ALIAS)] = 0.8
    starts = np.flatnonzero(_position(visit) == 0)
    gaps[starts] = 0.0
    total = np.cumsum(gaps)
    since = total - np.repeat(total[starts], np.diff(np.append(starts, len(visit))))
    return kinds, visit, np.round(seen["at"][visit] + since, 3)


def _position(visit: np.ndarray) -> np.ndarray:
    """Return each event's position inside its visit (visits lie together)."""
    return np.arange(len(visit)) - np.searchsorted(visit, visit, side="left")


def _identified(
    seen: Columns, kinds: np.ndarray, visit: np.ndarray, at: np.ndarray, day: int
) -> Columns:
    """Return the events with the identifiers each of them carries."""
    before_login = (kinds == PAGE) & ~seen["logged_in"][visit]
    user_known = (seen["logged_in"] | seen["identifies"])[visit] & ~before_login
    guest = seen["guest"][visit] & (kinds == IDENTIFY)
    tells = (kinds == IDENTIFY) | (kinds == SIGNED_UP)
    stranger = np.where(seen["null_user"][visit], NULL_USER, NOBODY)
    user = np.where(user_known, seen["visitor"][visit], stranger)
    form = np.where(kinds == SIGNED_UP, SIGN_UP, np.where(guest, GUEST, ACCOUNT))
    traits = np.where(tells, seen["visitor"][visit] * FORMS + form, NOBODY)
    return {
        "at": at,
        "received": at,
        "key": (((day + 1) << 20) + visit.astype(np.int64) << 6) + _position(visit),
        "kind": kinds.astype(np.int8),
        "cookie": seen["cookie"][visit],
        "device": seen["device"][visit],
        "user": user,
        "traits": traits,
        "source": np.where(_position(visit) == 0, seen["source"][visit], -1).astype(np.int16),
        "slot": seen["slot"][visit],
        "agent": seen["agent"][visit],
        "place": seen["place"][visit],
        "app": seen["app"][visit],
        "visitor": seen["visitor"][visit],
    }


def _properties(
    world: World, seen: Columns, kinds: np.ndarray, visit: np.ndarray, product: np.ndarray,
    placed: orders.Orders, told: Told,
) -> np.ndarray:  # fmt: skip
    """Return property codes: the product of a view or an add, the text of an order."""
    size = len(goods.catalogue(world.seed).ids) * len(zones.CURRENCIES)
    currency = np.array([zones.CURRENCIES.index(place.currency) for place in zones.PLACES])
    within = _position(visit)
    first_added = np.searchsorted(visit * 16 + kinds, visit * 16 + ADDED)
    nth = np.where(kinds == ADDED, np.arange(len(visit)) - first_added, within) % orders.SHELF
    code = product[visit, nth] * len(zones.CURRENCIES) + currency[seen["place"][visit]]
    code = np.where((kinds == VIEWED) | (kinds == ADDED), code, NOBODY)
    code[kinds == ORDER] = size + len(told.texts) + np.arange(len(placed.texts))
    told.texts.extend(placed.texts)
    return code.astype(np.int64)


def _landings(
    world: World, seen: Columns, kinds: np.ndarray, visit: np.ndarray, told: Told
) -> np.ndarray:
    """Give the first page of a visit from elsewhere its query string, as a code."""
    code = np.full(len(visit), NOBODY, dtype=np.int64)
    outside = (seen["source"] >= 4)[visit] & (_position(visit) == 0)
    for event in np.flatnonzero(outside):
        row = visit[event]
        tag = int(seen["tag"][row])
        told.landings.append(
            {
                "source": int(seen["source"][row]),
                "visitor": int(seen["visitor"][row]),
                "at": float(seen["at"][row]),
                "tag": world.tags[tag] if tag >= 0 else None,
            }
        )
        code[event] = len(told.landings) - 1
    return code


def _arrived(events: Columns, rng: np.random.Generator) -> Columns:
    """Let events arrive: nearly at once, from phones now and then hours or days late.

    Also adds the retries: 0.6 % are sent twice under the same message id.
    """
    count = len(events["at"])
    lag = np.exp(rng.normal(-0.6, 0.5, count))
    late = events["app"] & (rng.random(count) < 0.05)
    lag = np.where(late, np.minimum(rng.lognormal(9.3, 1.2, count), 2.5 * 86_400), lag)
    events = events | {"received": np.round(events["at"] + lag, 3)}
    again = rng.random(count) < 0.006
    wait = np.exp(rng.normal(4.0, 1.5, int(again.sum())))
    retries = {name: values[again] for name, values in events.items()}
    retries |= {"received": np.round(retries["received"] + wait, 3)}
    ordered = {name: np.asarray(events[name], dtype=EVENT_TYPES[name]) for name in EVENT_TYPES}
    repeated = {name: np.asarray(retries[name], dtype=EVENT_TYPES[name]) for name in EVENT_TYPES}
    return stacked([ordered, repeated])


def _remember_orders(world: World, day: int, seen: Columns) -> None:
    buyers = seen["visitor"][(seen["intent"] == BUY) & (seen["visitor"] < LOOKER)]
    world.people["last_order_day"][buyers] = day
    np.add.at(world.people["order_count"], buyers, 1)
    world.people["lapsed"][buyers] = False


def _server_events(world: World, day: int, chores: Columns, told: Told) -> Columns:
    """Return refunds and support tickets as the shop's server reports them."""
    count = len(chores["at"])
    place = world.people["place"][chores["person"]]
    size = len(goods.catalogue(world.seed).ids) * len(zones.CURRENCIES)
    codes = size + len(told.texts) + np.arange(count)
    for row in range(count):
        order_id = f"L{chores['order'][row]}"
        currency = zones.PLACES[int(place[row])].currency
        if chores["kind"][row] == TICKET:
            told.texts.append(f'"ticket_id":"T{chores["order"][row]}","order_id":"{order_id}"')
        else:
            amount = float(chores["amount"][row])
            told.texts.append(
                f'"order_id":"{order_id}","revenue":{amount},"total":{amount},'
                f'"currency":"{currency}"'
            )
    kind = np.where(chores["kind"] == TICKET, TICKETED, REFUNDED)
    filled: dict[str, Any] = {name: NOBODY for name in EVENT_TYPES}
    filled |= {"at": chores["at"], "received": chores["at"] + 0.25, "kind": kind, "page": 1000}
    filled |= {"user": chores["person"], "visitor": chores["person"], "property": codes}
    filled |= {"place": place, "app": False}
    filled["key"] = ((day + 1) << 26) + (1 << 25) + np.arange(count)
    return {
        name: np.broadcast_to(np.asarray(filled[name], dtype=kind_), (count,)).copy()
        for name, kind_ in EVENT_TYPES.items()
    }
