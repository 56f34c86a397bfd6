"""A day in the market: who arrives, who is lost, who visits and who buys.

Belongs here: the decisions people make. Does not belong here: the clicks a visit consists of
(`sessions`), the files (`landing`), answers to messages (`reactions`).

Purchases are a renewal process with Weibull hazard, discrete frailty and seasons,
h(t) = frailty * season * k / tempo * (t / tempo)^(k - 1); lapses are a second, silent hazard
that falls with age and rises with bad experiences.
"""

from typing import Final

import numpy as np

from sandbox.market import ads, cards, population, zones
from sandbox.market.ads import AdDay
from sandbox.market.draws import choices, generator
from sandbox.market.population import People
from sandbox.market.world import (
    BROWSE,
    BUY,
    CART,
    FIRST_CAMPAIGN_SOURCE,
    ORGANIC,
    VISIT_TYPES,
    Columns,
    World,
    columns,
    rows_of,
    stacked,
)

HIGHEST_HAZARD: Final = 0.35
REVIVAL_RATE: Final = 0.0004
# Of the people known at the end of a year of history, so many were there before it began.
RESIDENT_SHARE: Final = 0.48
ATTRIBUTION_DAYS: Final = 30


def purchase_hazard(people: People, day: float, season: float) -> np.ndarray:
    """Return each person's probability to buy on a day, were they not lapsed, shape (n,)."""
    since = np.maximum(day - people["last_order_day"], 0.0) + 0.5
    tempo, shape = people["tempo_days"], people["tempo_shape"]
    rate = shape / tempo * (since / tempo) ** (shape - 1)
    mood = np.where(people["gift_buyer"], np.maximum(season, 0.2) ** 3.0 * 0.8, season)
    age = np.maximum(day - people["signed_up_day"], 0.0)
    first = 0.10 * np.exp(-age / 4.0) + 0.006
    hazard = np.where(people["order_count"] > 0, people["frailty"] * rate * mood, first * mood)
    known = people["signed_up_day"] > -9000
    hazard = np.where(known & ~people["never_buys"], hazard, 0.0)
    return np.minimum(hazard, HIGHEST_HAZARD)


def lapse_hazard(people: People, day: float) -> np.ndarray:
    """Return each person's probability to turn away for good on a day, shape (n,)."""
    age = np.maximum(day - people["signed_up_day"], 0.0)
    wear = (age / 120.0 + 0.25) ** -0.35
    hazard = people["lapse_rate"] * wear * (1.0 + 25.0 * people["bad_experience"])
    return np.minimum(np.where(people["signed_up_day"] > -9000, hazard, 0.0), 0.5)


def spend_day(world: World, day: int, budgets: ads.Budgets) -> tuple[Columns, AdDay]:
    """Let everybody live one market day; returns their visits in order of time, and the ads.

    Changes `world.people`, `world.cards` and `world.planned`.
    """
    start = world.day_start(day).timestamp()
    season = zones.season(start + zones.DAY_SECONDS / 2)
    bought = ads.run_day(generator(world.seed, "ads", day), budgets, world.scale, season)
    rng = generator(world.seed, "visits", day)
    newcomers = _arrivals(world, day, season, bought)
    _turn_away(world, day)
    own = _own_visits(world, day, start, season, bought, rng)
    lookers = _looker_visits(world, start, season, bought, rng)
    due = world.planned["at"] < start + zones.DAY_SECONDS
    planned = rows_of(world.planned, due)
    world.planned = rows_of(world.planned, ~due)
    visits = stacked([own, _first_visits(world, newcomers, start, rng), lookers, planned])
    _intercept(visits, bought, rng)
    return rows_of(visits, np.lexsort((visits["visitor"], visits["at"]))), bought


def _arrivals(world: World, day: int, season: float, bought: AdDay) -> np.ndarray:
    """Add the day's newcomers and return their row numbers."""
    rng = generator(world.seed, "population", day)
    wanted = world.size * (1 - RESIDENT_SHARE) / 365.0
    paid = float(np.sum(bought.joins))
    # The share of newcomers that no ad brought; ads come on top of it.
    unpaid = rng.poisson(wanted * 0.55 * season**0.7)
    count = int(unpaid + paid)
    fresh = population.born(rng, count, day)
    fresh["acquired_by"][:] = np.concatenate(
        [np.full(unpaid, -1), np.repeat(np.arange(len(ads.CAMPAIGNS)), bought.joins)]
    )
    fresh["signup_visit"][:] = 1 + (rng.random(count) < 0.4) + (rng.random(count) < 0.15)
    settled = np.flatnonzero(world.people["signed_up_day"] > -9000)
    first = len(world.people["born_day"])
    population.households(rng, fresh, settled, first)
    world.cards.extend(cards.issue(world.seed, first, fresh, world.cards))
    world.people = population.joined(world.people, fresh)
    return np.arange(first, first + count)


def _turn_away(world: World, day: int) -> None:
    people = world.people
    draw = generator(world.seed, "life", day).random(len(people["born_day"]))
    leaves = ~people["lapsed"] & (draw < lapse_hazard(people, day))
    returns = people["lapsed"] & (draw < REVIVAL_RATE)
    people["lapsed"] = (people["lapsed"] | leaves) & ~returns
    people["bad_experience"] *= 0.97
    people["fatigue"] *= 0.86


def _own_visits(
    world: World, day: int, start: float, season: float, bought: AdDay, rng: np.random.Generator
) -> Columns:
    people = world.people
    count = len(people["born_day"])
    known = people["signed_up_day"] > -9000
    hazard = purchase_hazard(people, day, season)
    buys = (rng.random(count) < hazard) & ~people["lapsed"]
    weekday = int((start // zones.DAY_SECONDS + 3) % 7)
    by_day = population.HABITS.reshape(len(population.HABITS), 7, 24).mean(axis=2)[:, weekday]
    rate = people["visit_rate"] * season * (people["habit_weights"] @ by_day)
    # Curiosity comes before purchases: visits cluster when one is due.
    rate = rate * np.where(people["lapsed"], 0.05, 0.7 + np.minimum(hazard * 14, 1.8))
    rate = np.where(known, rate, 0.45 * np.exp(-(day - people["born_day"]) / 9.0))
    browses = np.minimum(rng.poisson(rate), 4) * (people["born_day"] < day)
    rows = np.concatenate(
        [np.flatnonzero(buys), np.repeat(np.arange(count), browses), _revived(people, bought, rng)]
    ).astype(np.int64)
    number = len(rows)
    intent = np.where(rng.random(number) < 0.13, CART, BROWSE)
    intent[: int(buys.sum())] = BUY
    visits = columns(
        VISIT_TYPES, number, visitor=rows, place=people["place"][rows], tag=-1, intent=intent
    )
    visits["at"] = _moments(people, rows, start, rng)
    visits["slot"] = choices(rng, people["device_weights"][rows])
    visits["agent"] = people["agents"][rows, visits["slot"]]
    visits["source"] = _sources(people, rows, hazard[rows], weekday, rng)
    visits["cause"] = _causes(people, rows, day)
    revived = int(np.sum(bought.revives)) if number else 0
    revived = min(revived, number - int(buys.sum()) - int(browses.sum()))
    if revived > 0:
        campaign = np.repeat(np.arange(len(ads.CAMPAIGNS)), bought.revives)[:revived]
        visits["source"][-revived:] = FIRST_CAMPAIGN_SOURCE + campaign
        visits["cause"][-revived:] = campaign
        visits["intent"][-revived:] = np.where(rng.random(revived) < 0.06, BUY, BROWSE)
    visits["discount"] = _coupons(people, rows, rng)
    return visits


def _revived(people: People, bought: AdDay, rng: np.random.Generator) -> np.ndarray:
    """Return the people whom an ad brings back for a visit they would not have made."""
    wanted = int(np.sum(bought.revives))
    candidates = np.flatnonzero((people["signed_up_day"] > -9000) & ~people["lapsed"])
    if len(candidates) == 0:
        return np.empty(0, dtype=np.int64)
    return candidates[rng.integers(0, len(candidates), wanted)]


def _moments(
    people: People, rows: np.ndarray, start: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw instants inside the day by each person's local hour taste."""
    hours = start + 3600.0 * np.arange(24)
    instants = np.broadcast_to(hours, (len(rows), 24))
    local = zones.hours_of_week(instants, people["place"][rows])
    taste = np.take_along_axis(population.hour_tastes(people, rows), local, axis=1)
    picked = choices(rng, taste)
    return start + 3600.0 * picked + np.floor(rng.random(len(rows)) * 3600e3) / 1e3


def _sources(
    people: People, rows: np.ndarray, hazard: np.ndarray, weekday: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw where an unpaid visit comes from.

    The newsletter of old went to those about to buy anyway: history is confounded.
    """
    count = len(rows)
    mail = people["newsletter"][rows] & people["email_ok"][rows] & (weekday in (1, 3))
    mail_weight = np.where(mail, 0.10 + np.minimum(hazard * 25, 0.9), 0.0)
    search = people["searcher"][rows]
    weights = np.column_stack(
        [
            0.40 + 0.3 * people["stays_logged_in"][rows],
            0.15 + 0.5 * search,
            np.full(count, 0.07),
            0.04 + 0.10 * people["sociability"][rows],
            mail_weight,
        ]
    )
    return choices(rng, weights)


def _causes(people: People, rows: np.ndarray, day: int) -> np.ndarray:
    """Return the campaign without which the visit had not happened, or `ORGANIC`."""
    recent = day - people["born_day"][rows] <= ATTRIBUTION_DAYS
    return np.where(recent, people["acquired_by"][rows], ORGANIC)


def _coupons(people: People, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chance = 0.05 + 0.28 * people["price_sensitivity"][rows]
    return np.where(rng.random(len(rows)) < chance, rng.choice([5.0, 10.0, 15.0], len(rows)), 0.0)


def _first_visits(
    world: World, rows: np.ndarray, start: float, rng: np.random.Generator
) -> Columns:
    people = world.people
    count = len(rows)
    draw = rng.random(count)
    joins_now = people["signup_visit"][rows] == 1
    buys = joins_now & ~people["never_buys"][rows] & (draw < 0.22)
    visits = columns(VISIT_TYPES, count, visitor=rows, place=people["place"][rows], tag=-1)
    visits["intent"] = np.where(buys, BUY, np.where(draw > 0.86, CART, BROWSE)).astype(np.int8)
    visits["at"] = _moments(people, rows, start, rng)
    visits["slot"] = choices(rng, people["device_weights"][rows] * np.array([1, 1, 0.2]))
    visits["agent"] = people["agents"][rows, visits["slot"]]
    bought_by = people["acquired_by"][rows]
    unpaid = _sources(people, rows, np.zeros(count), 0, rng)
    visits["source"] = np.where(bought_by >= 0, FIRST_CAMPAIGN_SOURCE + bought_by, unpaid)
    visits["cause"] = bought_by
    return visits


def _looker_visits(
    world: World, start: float, season: float, bought: AdDay, rng: np.random.Generator
) -> Columns:
    """Return the visits of people who never sign up; some plan to come once more."""
    unpaid = rng.poisson(26.0 * world.scale * season)
    sources = np.concatenate(
        [
            rng.choice(4, unpaid, p=[0.2, 0.5, 0.12, 0.18]),
            np.repeat(FIRST_CAMPAIGN_SOURCE + np.arange(len(ads.CAMPAIGNS)), bought.lookers),
        ]
    )
    count = len(sources)
    visitor = world.looker_number + np.arange(count)
    world.looker_number += count
    place = rng.choice(len(zones.PLACES), count, p=zones.SHARES / zones.SHARES.sum())
    hours = start + 3600.0 * np.arange(24)
    local = zones.hours_of_week(np.broadcast_to(hours, (count, 24)), place)
    picked = choices(rng, population.HABITS.mean(axis=0)[local])
    visits = columns(
        VISIT_TYPES, count, visitor=visitor, place=place, source=sources, tag=-1, cause=ORGANIC
    )
    visits["at"] = start + 3600.0 * picked + np.floor(rng.random(count) * 3600e3) / 1e3
    visits["slot"] = rng.choice(3, count, p=[0.4, 0.55, 0.05])
    visits["agent"] = rng.integers(0, 4, count)
    visits["intent"] = np.where(rng.random(count) < 0.06, CART, BROWSE)
    bots = rng.random(count) < 0.06
    visits["agent"][bots] = 100 + rng.integers(0, 3, int(bots.sum()))
    visits["intent"][bots] = BROWSE
    again = rows_of(visits, rng.random(count) < 0.3)
    later = rng.lognormal(0.7, 0.9, len(again["at"])) * zones.DAY_SECONDS
    again |= {"at": np.round(again["at"] + later, 3), "source": np.zeros_like(again["source"])}
    world.planned = stacked([world.planned, again])
    return visits


def _intercept(visits: Columns, bought: AdDay, rng: np.random.Generator) -> None:
    """Let ads claim visits that were coming anyway: the source changes, the cause does not."""
    free = np.flatnonzero((visits["source"] < 2) & (visits["visitor"] < 10**9))
    wanted = np.repeat(np.arange(len(ads.CAMPAIGNS)), bought.intercepts)
    # Buyers search for the brand by name, so they meet the ad more often than browsers.
    weight = np.where(visits["intent"][free] == BUY, 4.0, 1.0)
    count = min(len(free), len(wanted))
    if count == 0:
        return
    order = np.argsort(rng.exponential(size=len(free)) / weight, kind="stable")[:count]
    visits["source"][free[order]] = FIRST_CAMPAIGN_SOURCE + rng.permutation(wanted)[:count]
