"""Who lives in the market: latent traits, tempo, habits, devices. Arrays, one row a person.

Belongs here: what a person is born with. Does not belong here: names and addresses
(`cards`), what they do (`life`), what a message does to them (`effects`).

The traits are deliberately not Gaussian clusters: zero-inflated, skewed, bimodal and discrete
parts are mixed, so a persona model finds structure without its own assumptions being planted.
"""

from typing import Final

import numpy as np

from sandbox.market import zones
from sandbox.market.draws import choices

People = dict[str, np.ndarray]

# Visitors above this number look without ever signing up; below it they are rows of `people`.
LOOKER: Final = 10**9

CATEGORIES: Final = (
    "kitchen", "garden", "candles", "stationery", "toys", "textiles", "lighting", "jewellery",
)  # fmt: skip
# Hour-of-day shapes of five habits: early, office break, evening, night, family afternoon.
HABIT_PEAKS: Final = ((7.5, 1.8), (12.5, 1.6), (20.0, 2.2), (22.8, 2.0), (16.5, 2.0))
WEEKEND_LIFT: Final = (0.7, 0.35, 1.1, 1.2, 1.9)
# Shares, median days between purchases and Weibull shape: regulars, occasional, rare.
TEMPO_PARTS: Final = ((0.26, 27.0, 1.9), (0.44, 62.0, 1.15), (0.30, 140.0, 0.85))


def _habit_shapes() -> np.ndarray:
    hours = np.arange(24) + 0.5
    shapes = np.empty((len(HABIT_PEAKS), zones.WEEK_HOURS))
    for row, ((peak, width), lift) in enumerate(zip(HABIT_PEAKS, WEEKEND_LIFT, strict=True)):
        distance = np.minimum(np.abs(hours - peak), 24 - np.abs(hours - peak))
        day = 0.04 + np.exp(-0.5 * (distance / width) ** 2)
        later = np.roll(day, 1) * lift
        shapes[row] = np.concatenate([np.tile(day, 5), later, later])
    return shapes / shapes.mean(axis=1, keepdims=True)


HABITS: Final = _habit_shapes()


def hour_tastes(people: People, rows: np.ndarray) -> np.ndarray:
    """Return the hour-of-week taste of the given rows, shape (n, 168), mean 1 in a row."""
    shared = people["habit_weights"][rows] @ HABITS
    hours = np.arange(zones.WEEK_HOURS)
    distance = np.abs(hours[None, :] - people["peak_hour"][rows][:, None])
    distance = np.minimum(distance, zones.WEEK_HOURS - distance)
    own = np.exp(-0.5 * (distance / 1.3) ** 2)
    own = own / own.mean(axis=1, keepdims=True)
    weight = people["peak_weight"][rows][:, None]
    return (1 - weight) * shared + weight * own


def born(rng: np.random.Generator, count: int, day: int) -> People:
    """Return `count` new people as arrays; later generations are pricier to please (drift)."""
    people: People = {"born_day": np.full(count, day, dtype=np.int32)}
    people |= _places_and_habits(rng, count)
    people |= _tempo(rng, count)
    people |= _tastes(rng, count, drift=max(day, 0) / 365.0)
    people |= _devices(rng, count)
    people |= _blank_state(count, day)
    return people


def _places_and_habits(rng: np.random.Generator, count: int) -> People:
    weights = rng.gamma(0.35, size=(count, len(HABIT_PEAKS))) + 0.01
    weekday = rng.integers(0, 7, count)
    hour = rng.integers(7, 23, count)
    return {
        "place": rng.choice(len(zones.PLACES), count, p=zones.SHARES / zones.SHARES.sum()),
        "habit_weights": weights / weights.sum(axis=1, keepdims=True),
        "peak_hour": weekday * 24 + hour,
        "peak_weight": rng.beta(0.8, 2.4, count) * 0.6,
    }


def _tempo(rng: np.random.Generator, count: int) -> People:
    shares = np.array([part[0] for part in TEMPO_PARTS])
    part = rng.choice(len(TEMPO_PARTS), count, p=shares)
    median = np.array([row[1] for row in TEMPO_PARTS])[part]
    shape = np.array([row[2] for row in TEMPO_PARTS])[part]
    return {
        "tempo_days": median * np.exp(0.35 * rng.standard_normal(count)),
        "tempo_shape": shape,
        # Frailty: a few are three times as keen as the rest of their kind.
        "frailty": np.where(rng.random(count) < 0.12, 2.6, 0.85) * rng.gamma(6.0, 1 / 6.0, count),
        "gift_buyer": (rng.random(count) < np.array([0.1, 0.2, 0.55])[part]),
        "never_buys": rng.random(count) < 0.24,
        "lapse_rate": 0.0009 * np.exp(0.9 * rng.standard_normal(count)),
        "basket": np.exp(rng.normal(3.35, 0.35, count)) * (1 + rng.pareto(3.6, count) * 0.35),
        "visit_rate": 0.062 * np.exp(0.75 * rng.standard_normal(count)),
    }


def _tastes(rng: np.random.Generator, count: int, drift: float) -> People:
    bimodal = rng.random(count) < 0.45 + 0.05 * drift
    taste = rng.gamma(0.4, size=(count, len(CATEGORIES))) + 0.005
    mail_lover = rng.random(count) < 0.6
    return {
        "price_sensitivity": np.where(bimodal, rng.beta(6, 1.8, count), rng.beta(1.2, 6, count)),
        # Zero-inflated: half forget nothing, the others in a long tail.
        "forgetfulness": np.where(
            rng.random(count) < 0.5, 0.0, np.minimum(rng.lognormal(-0.7, 0.6, count), 1.6)
        ),
        "novelty": (rng.random(count) < 0.35) * rng.beta(4, 1.5, count),
        "sociability": rng.beta(0.7, 0.9, count),
        "email_taste": np.where(mail_lover, rng.beta(6, 2.5, count), rng.beta(1.5, 5, count)),
        "sms_taste": np.where(mail_lover, rng.beta(1.4, 4, count), rng.beta(4, 2.5, count)),
        "patience": rng.beta(2, 2, count),
        "categories": taste / taste.sum(axis=1, keepdims=True),
    }


def _devices(rng: np.random.Generator, count: int) -> People:
    return {
        "device_weights": np.column_stack(
            [rng.beta(1, 1, count), rng.beta(2, 1, count), (rng.random(count) < 0.25) * 0.35]
        ),
        "has_app": rng.random(count) < 0.3,
        "resets_cookies": rng.random((count, 3)) < 0.35,
        "agents": rng.integers(0, 4, (count, 3)),
        "apple_mail": rng.random(count) < 0.42,
        "mail_scanner": rng.random(count) < 0.02,
        "newsletter": rng.random(count) < 0.55,
        "searcher": rng.beta(2, 3, count),
        "stays_logged_in": rng.beta(2.5, 1.5, count),
    }


def _blank_state(count: int, day: int) -> People:
    """Return what changes while living; before the first visit nothing has happened."""
    return {
        "signup_visit": np.zeros(count, dtype=np.int16),
        "visit_count": np.zeros(count, dtype=np.int32),
        "signed_up_day": np.full(count, -9999.0),
        "order_count": np.zeros(count, dtype=np.int32),
        "last_order_day": np.full(count, float(day)),
        "lapsed": np.zeros(count, dtype=bool),
        "bad_experience": np.zeros(count),
        "fatigue": np.zeros(count),
        "cookie_epochs": np.zeros((count, 3), dtype=np.int32),
        "cookie_known": np.zeros((count, 3), dtype=bool),
        "acquired_by": np.full(count, -1, dtype=np.int16),
        "household": np.full(count, -1, dtype=np.int64),
        "shares_device": np.zeros(count, dtype=bool),
        "email_ok": np.zeros(count, dtype=bool),
        "sms_ok": np.zeros(count, dtype=bool),
    }


def residents(rng: np.random.Generator, count: int) -> People:
    """Return the people who were customers before the history starts, some already lapsed."""
    people = born(rng, count, day=-1)
    age = 30 + rng.gamma(1.6, 160, count)
    since_order = np.minimum(rng.weibull(1.1, count) * people["tempo_days"] * 0.9, age)
    people["born_day"] = (-age).astype(np.int32)
    people["signed_up_day"] = -age
    people["order_count"] = np.where(
        people["never_buys"], 0, 1 + rng.poisson(age / people["tempo_days"])
    ).astype(np.int32)
    people["last_order_day"] = np.where(people["never_buys"], -age, -since_order)
    people["visit_count"] = 1 + rng.poisson(age * people["visit_rate"]).astype(np.int32)
    people["lapsed"] = rng.random(count) < 1 - np.exp(-age * people["lapse_rate"])
    # Whoever is gone has been gone for a while.
    gone = people["lapsed"]
    people["last_order_day"][gone] = -np.maximum(since_order, age * rng.beta(3, 1.5, count))[gone]
    return people


def joined(people: People, newcomers: People) -> People:
    """Return the population with the newcomers behind it; rows keep their numbers."""
    return {name: np.concatenate([people[name], newcomers[name]]) for name in people}


def households(
    rng: np.random.Generator, newcomers: People, settled: np.ndarray, first_row: int
) -> None:
    """Let a few newcomers move in with settled people (row numbers), sharing a device.

    Writes `household` and `shares_device` of the newcomers in place; they begin at `first_row`,
    and nobody moves in with somebody behind them.
    """
    count = len(newcomers["born_day"])
    if len(settled) == 0 or count == 0:
        return
    partner = settled[rng.integers(0, len(settled), count)]
    moves_in = (rng.random(count) < 0.07) & (partner < first_row + np.arange(count))
    newcomers["household"] = np.where(moves_in, partner, -1)
    newcomers["shares_device"] = moves_in & (rng.random(count) < 0.6)


def favourite_categories(
    rng: np.random.Generator, people: People, rows: np.ndarray, per_row: int
) -> np.ndarray:
    """Draw categories by taste, shape (n, per_row)."""
    repeated = np.repeat(people["categories"][rows], per_row, axis=0)
    return choices(rng, repeated).reshape(len(rows), per_row)
