"""Three kinds of pairs told apart by how their fields agree: one person, one household, others.

Here: learning from patterns of agreement how often each kind agrees on a field, and how many pairs
are of each kind (Fellegi and Sunter 1969). Not here: what a field or a level is (`ml.likeness`).

People who live together share a surname, a place and often a mailbox; namesakes share what mail
addresses are made of. There are many more of both than of cards written twice, and expectation
maximisation over all pairs takes one of them for the matches. So matches are learnt from pairs
that agree on three other fields, and only the shares of the kinds by expectation maximisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# How many matches the first guess is worth: what was never seen among few is not impossible.
PRIOR_MATCHES = 5.0
STEPS, TOLERANCE = 500, 1e-7

Levels = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Mixture:
    """share, household_share: of matches and of households among all pairs. m, household: per
    field, the probability of each level among them; a household's is u where a field is one's
    own, as a first name is."""

    share: float
    household_share: float
    m: Levels
    household: Levels


def fit(
    patterns: NDArray[np.int64],
    counts: NDArray[np.int64],
    u: Levels,
    is_own: Sequence[bool],
    seeds: Sequence[Sequence[int]],
    pairs: float,
) -> Mixture:
    """Learn m, the households' levels and both shares; u, from random pairs, stays.

    patterns: int[patterns, fields], the level of each field, 0 = different up to the same; -1 =
        unknown, which says nothing. counts: int[patterns], how many pairs show each. u: per field
        float[levels]. is_own: fields that people of one household share by chance only, the first
        of them one that nearly all have. seeds: sets of fields on which hardly any two people
        agree; what they leave out is learnt from pairs that agree on them. pairs: of all records;
        those without a pattern count as others.
    """
    guess = [_first_guess(len(levels)) for levels in u]
    same = patterns == np.array([len(levels) - 1 for levels in u])
    shared = [place for place, own in enumerate(is_own) if not own]
    differs = patterns[:, list(is_own).index(True)] == 0
    m, home = [], []
    for place, prior in enumerate(guess):
        others = [list(seed) for seed in seeds if place not in seed]
        is_seed = np.any([same[:, seed].all(axis=1) for seed in others], axis=0)
        m.append(_learnt(patterns[:, place], counts * is_seed, prior))
        rest = [other for other in shared if other != place]
        at_home = differs & (same[:, rest].sum(axis=1) >= 2)
        home.append(
            u[place] if is_own[place] else _learnt(patterns[:, place], counts * at_home, prior)
        )
    shares = _shares(patterns, counts, (m, home), u, pairs)
    return Mixture(float(shares[0]), float(shares[1]), m, home)


def _shares(
    patterns: NDArray[np.int64],
    counts: NDArray[np.int64],
    kinds: Sequence[Levels],
    u: Levels,
    pairs: float,
) -> NDArray[np.float64]:
    weight = np.stack([_log2(patterns, kind) for kind in kinds]) - _log2(patterns, u)
    shares = np.full(len(kinds), 1e-4)
    for _ in range(STEPS):
        odds = np.exp2(weight) * (shares / (1 - shares.sum()))[:, None]
        chance = counts * odds / (1 + odds.sum(axis=0))
        before, shares = shares, np.clip(chance.sum(axis=1) / pairs, 1 / pairs, 0.45)
        if (np.abs(shares - before) <= TOLERANCE * before).all():
            break
    return shares


def _learnt(
    level: NDArray[np.int64], counts: NDArray[np.int64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    known = level >= 0
    seen = np.bincount(level[known], weights=counts[known].astype(float), minlength=len(prior))
    expected = seen.astype(float) + PRIOR_MATCHES * prior
    return expected / expected.sum()


def _first_guess(levels: int) -> NDArray[np.float64]:
    """Nearly all the same, the rest more often close than different."""
    rest = np.arange(1, levels, dtype=float)
    return np.append(0.1 * rest / rest.sum(), 0.9)


def _log2(
    patterns: NDArray[np.int64], of_level: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    total = np.zeros(len(patterns))
    for place, probabilities in enumerate(of_level):
        level = patterns[:, place]
        total += np.where(level >= 0, np.log2(probabilities)[level], 0.0)
    return total
