"""Randomness of the market: one generator per purpose and day, one digest per message.

Belongs here: how chance is derived from the seed. Does not belong here: what chance decides.
A day's draws depend on the seed, the purpose and the day alone, never on how many calls came
before, so a history made in one go and the same history made day by day are the same.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

PURPOSES: Final = (
    "population",
    "cards",
    "life",
    "visits",
    "sessions",
    "orders",
    "events",
    "ads",
    "crm",
    "goods",
    "bots",
    "companion",
    "faults",
)
# SeedSequence takes no negative keys; the first residents are born on day -1.
DAY_OFFSET: Final = 100_000


def generator(seed: int, purpose: str, day: int) -> np.random.Generator:
    """Return the generator of one purpose on one market day.

    Args:
        seed: the market's seed.
        purpose: one of `PURPOSES`; the position in that tuple is the spawn key, so append only.
        day: market day, 0 = first day of history, -1 = before it.

    Raises:
        ValueError: the purpose is not known.
    """
    key = (PURPOSES.index(purpose), day + DAY_OFFSET)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def uniforms(seed: int, keys: Sequence[str], purpose: str, count: int) -> np.ndarray:
    """Return uniforms in (0, 1), shape (len(keys), count), each row from its own key.

    A message's fate hangs on its key alone: another message more or less changes nothing.
    """
    rows = np.empty((len(keys), count))
    for position, key in enumerate(keys):
        words = b"".join(
            hashlib.blake2b(f"{seed}|{purpose}|{key}|{part}".encode()).digest()
            for part in range(-(-count // 8))
        )
        rows[position] = np.frombuffer(words, dtype="<u8")[:count]
    return (rows + 0.5) / 2.0**64


def token(seed: int, *parts: object, length: int = 16) -> str:
    """Return a hexadecimal identifier derived from the seed and the parts."""
    text = "|".join(str(part) for part in (seed, *parts))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:length]


def choices(rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    """Draw one column per row of `weights` (n, k), in proportion; rows need not sum to one."""
    sums = np.cumsum(weights, axis=1)
    thresholds = rng.random(len(weights)) * sums[:, -1]
    picked = (sums <= thresholds[:, None]).sum(axis=1)
    return np.minimum(picked, weights.shape[1] - 1)


def delays(
    uniform: np.ndarray, normal: np.ndarray, parts: Sequence[tuple[float, float, float]]
) -> np.ndarray:
    """Return delays in seconds from a mixture of lognormals.

    Args:
        uniform: (n,) picks the part.
        normal: (n,) standard normal deviate inside the part.
        parts: (share, median in seconds, sigma of the logarithm) with shares summing to 1.
    """
    edges = np.cumsum([share for share, _, _ in parts])
    which = np.minimum(np.searchsorted(edges, uniform), len(parts) - 1)
    median = np.array([part[1] for part in parts])[which]
    sigma = np.array([part[2] for part in parts])[which]
    return median * np.exp(sigma * normal)
