"""Where people live: countries, currencies, time zones with their clock changes, seasons.

Belongs here: the outer world that is the same for everybody in a place. Does not belong here:
what a single person likes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

DAY_SECONDS: Final = 86_400
WEEK_HOURS: Final = 168


@dataclass(frozen=True)
class Place:
    """A country and time zone with a share of the market's people.

    `phone_prefix` + `phone_digits` random digits is a valid mobile number of the country.
    `euro_rate` is how many euros one unit of the currency buys on average.
    """

    country: str
    zone: str
    share: float
    currency: str
    euro_rate: float
    locale: str
    regulation: str
    phone_prefix: str
    phone_digits: int
    cities: tuple[str, ...]
    region: str


PLACES: Final = (
    Place("GB", "Europe/London", 0.30, "GBP", 1.16, "en-GB", "UK GDPR", "+447400", 6,
          ("London", "Leeds", "Bristol", "Cardiff"), "England"),
    Place("DE", "Europe/Berlin", 0.24, "EUR", 1.0, "de-DE", "GDPR", "+49151", 8,
          ("Berlin", "Hamburg", "Köln", "München"), "DE"),
    Place("FR", "Europe/Paris", 0.14, "EUR", 1.0, "fr-FR", "GDPR", "+3361", 7,
          ("Paris", "Lyon", "Nantes", "Orléans"), "FR"),
    Place("US", "America/New_York", 0.14, "USD", 0.92, "en-US", "TCPA", "+1212555", 4,
          ("New York", "Boston", "Albany"), "NY"),
    Place("US", "America/Chicago", 0.06, "USD", 0.92, "en-US", "TCPA", "+1312555", 4,
          ("Chicago", "Madison"), "IL"),
    Place("US", "America/Los_Angeles", 0.07, "USD", 0.92, "en-US", "TCPA", "+1415555", 4,
          ("San Francisco", "Oakland"), "CA"),
    Place("AU", "Australia/Sydney", 0.05, "AUD", 0.60, "en-AU", "Spam Act", "+61412", 6,
          ("Sydney", "Newcastle"), "NSW"),
)  # fmt: skip
SHARES: Final = np.array([place.share for place in PLACES])
CURRENCIES: Final = ("EUR", "GBP", "USD", "AUD")
EURO_RATES: Final = {place.currency: place.euro_rate for place in PLACES}


@lru_cache(maxsize=64)
def _offset_steps(zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Return instants (UTC seconds) from which an offset holds, and the offsets in seconds."""
    info = ZoneInfo(zone)

    def offset(hour: int) -> float:
        delta = datetime.fromtimestamp(hour * 3600, UTC).astimezone(info).utcoffset()
        return 0.0 if delta is None else delta.total_seconds()

    first = int(datetime(2005, 1, 1, tzinfo=UTC).timestamp()) // 3600
    last = int(datetime(2045, 1, 1, tzinfo=UTC).timestamp()) // 3600
    starts, offsets = [first], [offset(first)]
    for month in range(first, last, 24 * 14):
        low, high = month, month + 24 * 14
        if offset(high) == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        starts.append(high)
        offsets.append(offset(high))
    return np.array(starts, dtype=np.int64) * 3600, np.array(offsets)


def offset_seconds(instants: np.ndarray, zone: str) -> np.ndarray:
    """Return the local offset in seconds of UTC instants (seconds since 1970) in a zone."""
    starts, offsets = _offset_steps(zone)
    position = np.searchsorted(starts, instants, side="right") - 1
    return offsets[np.maximum(position, 0)]


def hours_of_week(instants: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the local hour of week (0..167, Monday 00 = 0).

    Args:
        instants: UTC seconds since 1970, shape (n,) or (n, k).
        places: indices into `PLACES`, shape (n,).
    """
    hours = np.empty(instants.shape, dtype=np.int64)
    for index, place in enumerate(PLACES):
        rows = places == index
        if rows.any():
            hours[rows] = local_hours_of_week(instants[rows], place.zone)
    return hours


def local_hours_of_week(instants: np.ndarray, zone: str) -> np.ndarray:
    """Return the local hour of week of UTC instants in one named zone."""
    local = np.asarray(instants) + offset_seconds(np.asarray(instants), zone)
    # 1970-01-01 was a Thursday: three days after Monday.
    return ((local // 3600).astype(np.int64) + 72) % WEEK_HOURS


def season(instant: float) -> float:
    """Return the shop's seasonal factor at an instant (UTC seconds), about 1 on average.

    Low in January and August, a peak from late November to the last shipping day before
    Christmas: not a sine, so that no model gets it for free.
    """
    moment = datetime.fromtimestamp(instant, UTC)
    day = moment.timetuple().tm_yday
    wave = 1.0 + 0.07 * np.sin(2 * np.pi * (day - 60) / 365.25)
    factor = wave
    if 324 <= day <= 354:
        factor = wave * (1.0 + 0.85 * np.exp(-0.5 * ((day - 337) / 9.0) ** 2))
    if 328 <= day <= 333:
        factor *= 1.35
    if day < 25 or day > 358:
        factor *= 0.78
    if 210 <= day <= 235:
        factor *= 0.88
    return float(factor)
