"""Choosing an arm, with the propensity of every arm that could have been chosen.

Here: Thompson sampling over posteriors that are given, exploration floors, the draw. Not here:
how posteriors are learned (`ml.bandit`), which arms are eligible and what an arm means.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln, expit, log_expit, polygamma, psi

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]

ASSIGNMENTS = ("policy", "random", "bau", "holdout")
FLOOR = 0.01
FLOOR_IN_ALL = 0.1
MATURE_FROM = 100
"""Matured decisions from which an arm may fall to the floor (GrowthBook's ≥ 100 units)."""
SHARPNESS = 3.0
"""Posteriors are drawn from with this many times their strength (posterior reshaping, Chapelle &
Li 2011): less exploration than Thompson's own, for what is on its way already explores while
rewards are late. After 20,000 decisions, 60 seeds, a window of 7 days: gain over random 0.75
instead of 0.69 with ten arms, 0.93 instead of 0.90 with four."""
IMMATURE_SHARE = 0.5
"""Part of a uniform arm's share that an arm below `MATURE_FROM` keeps."""

# Panel borders in standard deviations of the logit of a Beta variable. Its tails are at least
# exponential in these units: beyond 20 lie less than e^-20 = 2e-9 of the mass.
_BORDERS = np.array([0.4, 1.2, 2.2, 3.5, 5.5, 9.0, 20.0])
_BORDERS = np.concatenate([-_BORDERS[::-1], _BORDERS])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_POSTERIORS_AT_ONCE = 64
_ROWS_AT_ONCE = 1024
_ROWS_IN_CACHE = 4096
_LEAST = 1e-290


@dataclass(frozen=True)
class Choice:
    """arm_index: int[n], -1 where nothing is to be sent. propensities: float[n, k], of every
    arm before the draw, 0 where it could not be drawn; rows sum to 1 or, without an arm, to 0.
    error: greatest absolute error of the integration behind them."""

    arm_index: NDArray[np.int64]
    propensities: Floats
    error: float


def keyed_uniforms(keys: ArrayLike, seed: int, stream: str) -> Floats:
    """float[n] in [0, 1), one per key: a hash of key, seed and stream, so that the same row
    draws the same number in whatever order and company it comes.

    The key is hashed by SipHash (`pandas.util.hash_array`), then mixed with the seed by the
    finaliser of SplitMix64 (Steele, Lea & Flood 2014).
    """
    texts = np.asarray(keys, dtype=object)
    hashed = pd.util.hash_array(texts, categorize=False).astype(np.uint64)
    salt = pd.util.hash_array(np.array([f"{stream}|{seed}"], dtype=object)).astype(np.uint64)
    return (_mixed(hashed ^ _mixed(salt)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choose(
    eligible: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    matured: ArrayLike,
    assignment: ArrayLike,
    bau_index: int,
    seed: int,
    keys: ArrayLike,
    floor: float = FLOOR,
    sharpness: float = SHARPNESS,
) -> Choice:
    """Draw one arm per opportunity.

    eligible: bool[n, k]. alpha, beta: float[n, k] or [k], Beta posteriors. matured: int[n, k] or
    [k], matured decisions of each arm. assignment: [n] of policy | random | bau | holdout. keys:
    str[n], unique per opportunity; they and `seed` are all the randomness there is.

    policy: P(arm is best) under independent posteriors (Thompson 1933) of `sharpness` times
    their strength, exactly what sampling each arm and taking the greatest would give, which is
    stated to `Choice.error`; arms below a floor of min(1 %, 10 % / eligible
    arms) or, below 100 matured decisions, of half a uniform share are lifted to it and the
    others scaled down alike. random: uniform over the eligible arms. bau: the
    declared arm where eligible, else none. holdout: none. Raises ValueError on shapes that do
    not fit, posteriors that are not positive and unknown assignments.
    """
    can = np.asarray(eligible, dtype=bool)
    alphas, betas = (
        np.broadcast_to(np.asarray(a, dtype=np.float64), can.shape) for a in (alpha, beta)
    )
    young = np.broadcast_to(np.asarray(matured) < MATURE_FROM, can.shape)
    groups = _assigned(assignment, len(can))
    for name, values in (("alpha", alphas), ("beta", betas)):
        if not (values.min(initial=1.0) > 0 and values.max(initial=1.0) < np.inf):
            raise ValueError(f"{name} of a Beta posterior must be positive and finite")
    propensities = np.zeros(can.shape)
    error = 0.0
    if (rows := np.flatnonzero(groups == 0)).size:
        where = slice(None) if len(rows) == len(can) else rows
        beliefs = np.ascontiguousarray(alphas[where]), np.ascontiguousarray(betas[where])
        propensities[where], error = _thompson(can[where], *beliefs, young[where], floor, sharpness)
    if (rows := np.flatnonzero(groups == 1)).size:
        propensities[rows] = can[rows] / np.maximum(can[rows].sum(axis=1, keepdims=True), 1)
    rows = np.flatnonzero(groups == 2)
    propensities[rows, bau_index] = can[rows, bau_index]
    return Choice(_drawn(propensities, keyed_uniforms(keys, seed, "arm")), propensities, error)


def win_probabilities(alpha: Floats, beta: Floats, eligible: Bools) -> tuple[Floats, float]:
    """P(arm is the greatest of the eligible) for rows of independent Beta variables.

    alpha, beta: float[rows, k]; eligible: bool[rows, k]. Returns float[rows, k] with zeros for
    rows and arms without eligibility, and the greatest deviation of a row's sum from 1 before
    it was normalised: the sum of these integrals is exactly 1, so that is their error.

    P_j = ∫ f_j(t) Π_{i≠j} F_i(t) dt on the logit scale, where densities are smooth even for
    alpha < 1, by Gauss-Legendre on panels between the arms' own quantile scales. The product is
    that over all eligible arms, by sums of logs, over F_j.
    """
    posteriors, of_row = _alike([alpha.view(np.uint64), beta.view(np.uint64)])
    by_posterior = np.argsort(of_row, kind="stable")
    ends = np.searchsorted(of_row[by_posterior], np.arange(len(posteriors) + 1))
    result = np.zeros(alpha.shape)
    for start in range(0, len(posteriors), _POSTERIORS_AT_ONCE):
        part = posteriors[start : start + _POSTERIORS_AT_ONCE]
        mass, below = _on_grid(alpha[part], beta[part])
        below = np.maximum(below, _LEAST)
        logs, ratios = np.log(below), mass / below
        for place, (log, ratio) in enumerate(zip(logs, ratios, strict=True), start):
            rows = by_posterior[ends[place] : ends[place + 1]]
            for some in np.split(rows, range(_ROWS_AT_ONCE, len(rows), _ROWS_AT_ONCE)):
                can = eligible[some].astype(np.float64)
                # Not by matrix products: theirs differ in the last bit with the company of a row.
                all_below = np.exp(np.einsum("rk,kn->rn", can, log))
                result[some] = np.einsum("rn,kn->rk", all_below, ratio) * can
    total = result.sum(axis=1, keepdims=True)
    error = np.abs(total[eligible.any(axis=1)] - 1).max(initial=0.0)
    return result / np.where(total > 0, total, 1), float(error)


def _on_grid(alpha: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Quadrature mass and distribution function of each arm: float[rows, k, nodes] each."""
    centre = psi(alpha) - psi(beta)
    spread = np.sqrt(polygamma(1, alpha) + polygamma(1, beta))
    borders = np.sort((centre[:, :, None] + spread[:, :, None] * _BORDERS).reshape(len(alpha), -1))
    half = np.diff(borders) / 2
    middle = (borders[:, 1:] + borders[:, :-1]) / 2
    nodes = (middle[:, :, None] + half[:, :, None] * _NODES).reshape(len(alpha), 1, -1)
    weights = (half[:, :, None] * _WEIGHTS).reshape(len(alpha), 1, -1)
    a, b = alpha[:, :, None], beta[:, :, None]
    density = np.exp(a * log_expit(nodes) + b * log_expit(-nodes) - betaln(a, b))
    return weights * density, betainc(a, b, expit(nodes))


def _thompson(
    can: Bools, alpha: Floats, beta: Floats, young: Bools, floor: float, sharpness: float
) -> tuple[Floats, float]:
    """Propensities of rows that the policy decides; rows that are alike are computed once."""
    words = [alpha.view(np.uint64), beta.view(np.uint64), _packed(can), _packed(young)]
    firsts, row_group = _alike(words)
    can, young = can[firsts], young[firsts]
    best, error = win_probabilities(sharpness * alpha[firsts], sharpness * beta[firsts], can)
    arms = np.maximum(can.sum(axis=1, keepdims=True), 1)
    least = np.where(young, IMMATURE_SHARE / arms, np.minimum(floor, FLOOR_IN_ALL / arms)) * can
    return _lifted(best, least)[row_group], error


def _lifted(best: Floats, floor: Floats) -> Floats:
    """Arms below their floor stand on it; the others share the rest as they did before."""
    is_low = best < floor
    for _ in range(best.shape[1]):
        rest = np.where(is_low, 0.0, best)
        left = 1 - np.where(is_low, floor, 0.0).sum(axis=1, keepdims=True)
        scaled = rest * left / np.maximum(rest.sum(axis=1, keepdims=True), 1e-300)
        lower = is_low | (scaled < floor)
        if (lower == is_low).all():
            break
        is_low = lower
    return np.where(is_low, floor, scaled)


def _alike(tables: list[Words]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row of each group of rows that are equal in all tables, and the group of each row.

    Rows are grouped by a 64-bit hash, and compared with the first of their group in full.
    """
    count = len(tables[0])
    hashed = np.zeros(count, dtype=np.uint64)
    # A piece at a time stays in the processor's cache: half the time of whole columns.
    pieces = [slice(at, at + _ROWS_IN_CACHE) for at in range(0, count, _ROWS_IN_CACHE)]
    for number, table in enumerate(tables):
        odd = _mixed(np.arange(table.shape[1], dtype=np.uint64) + np.uint64(1000 * number))
        for piece in pieces:
            # Round floats differ in their upper bits only, which a product would push out.
            folded = table[piece] ^ (table[piece] >> np.uint64(32))
            summed = np.einsum("nk,k->n", folded, odd | np.uint64(1))
            hashed[piece] = _mixed(hashed[piece] ^ summed)
    group, distinct = pd.factorize(hashed)
    firsts = np.full(len(distinct), count, dtype=np.int64)
    np.minimum.at(firsts, group, np.arange(count))
    if all(
        np.array_equal(table[firsts[group[piece]]], table[piece])
        for table in tables
        for piece in pieces
    ):
        return firsts, group.astype(np.int64)
    _, firsts, group = np.unique(
        np.column_stack(tables), axis=0, return_index=True, return_inverse=True
    )
    return firsts.astype(np.int64), group.ravel().astype(np.int64)


def _packed(flags: Bools) -> Words:
    """Rows of flags as whole words, a byte each."""
    whole = np.zeros((len(flags), -(-flags.shape[1] // 8) * 8), dtype=np.uint8)
    whole[:, : flags.shape[1]] = flags
    return whole.view(np.uint64)


def _mixed(words: Words) -> Words:
    """The finaliser of SplitMix64, after its odd increment."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _assigned(assignment: ArrayLike, count: int) -> NDArray[np.int64]:
    codes = pd.Categorical(np.asarray(assignment, dtype=object), categories=list(ASSIGNMENTS)).codes
    if len(codes) != count:
        raise ValueError(f"{len(codes)} assignments for {count} opportunities")
    if (codes < 0).any():
        raise ValueError(f"an assignment is none of {', '.join(ASSIGNMENTS)}")
    return codes.astype(np.int64)


def _drawn(propensities: Floats, uniforms: Floats) -> NDArray[np.int64]:
    """The arm whose part of the unit interval holds each uniform; -1 where no arm can be."""
    if len(uniforms) != len(propensities):
        raise ValueError(f"{len(uniforms)} keys for {len(propensities)} opportunities")
    total = propensities.sum(axis=1)
    target = uniforms * total
    drawn = np.zeros(len(total), dtype=np.int64)
    reached = np.zeros(len(total))
    for column in propensities.T:
        reached = reached + column
        drawn += reached <= target
    # Rounding can put the target on the total itself; the last possible arm is meant.
    last = propensities.shape[1] - 1 - np.argmax(propensities[:, ::-1] > 0, axis=1)
    return np.where(total > 0, np.minimum(drawn, last), -1)
