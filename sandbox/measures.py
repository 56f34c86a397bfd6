"""Measures of a rehearsal: numbers in, one number out.

Belongs here: pure arithmetic of the scorecard. Does not belong here: reading tables (`scorecard`).
"""

from collections.abc import Mapping, Sequence

import numpy as np


def pairwise(found: Sequence[str], true: Sequence[int]) -> tuple[float | None, float | None]:
    """Return pairwise precision and recall of a clustering against the true one.

    Args:
        found: cluster of each item.
        true: true owner of each item, in the same order.

    Precision: of the pairs put together, the share that belongs together; recall: of the pairs
    that belong together, the share put together. None where there is no such pair.
    """
    clusters = np.unique(np.asarray(found), return_inverse=True)[1]
    owners = np.unique(np.asarray(true), return_inverse=True)[1]
    cells = np.unique(clusters.astype(np.int64) * (len(owners) + 1) + owners, return_counts=True)[1]

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both = pairs(cells)
    together, belonging = pairs(np.bincount(clusters)), pairs(np.bincount(owners))
    return (both / together if together else None), (both / belonging if belonging else None)


def soft_auc(scores: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the expected AUC of scores when each label is true with a known probability.

    Every person counts as a positive with weight p and as a negative with weight 1 - p, so no
    future has to be lived to know it; ties count half. None where all weight is on one side.
    """
    order = np.argsort(scores, kind="stable")
    ranked, positive = np.asarray(scores)[order], np.asarray(probabilities, dtype=float)[order]
    negative = 1.0 - positive
    if positive.sum() <= 0 or negative.sum() <= 0:
        return None
    group = np.unique(ranked, return_inverse=True)[1]
    up, down = np.bincount(group, positive), np.bincount(group, negative)
    below = np.cumsum(down) - down
    return float((up * (below + 0.5 * down)).sum() / (positive.sum() * negative.sum()))


def calibration_error(scores: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error over equally wide bins of the score.

    ECE = sum over bins of n_b / n * |mean score - mean true probability|.
    """
    scores, probabilities = np.asarray(scores), np.asarray(probabilities)
    which = np.minimum((scores * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    gap = np.bincount(which, scores - probabilities, minlength=bins)
    return float(np.abs(gap).sum() / max(counts.sum(), 1))


def share_distance(left: Mapping[str, float], right: Mapping[str, float]) -> float:
    """Return half the sum of absolute differences of two distributions, 0 (equal) to 1."""
    names = sorted(set(left) | set(right))
    return 0.5 * sum(abs(left.get(name, 0.0) - right.get(name, 0.0)) for name in names)


def gain_share(policy: float, random: float, oracle: float) -> float | None:
    """Return (policy - random) / (oracle - random), None where the oracle gains nothing."""
    return (policy - random) / (oracle - random) if oracle - random > 1e-9 else None
