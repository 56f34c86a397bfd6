"""Pooling counts over the hours of a week towards a base curve.

Here: kernels around the clock, the pooled curve, and the choice of kernel and strength by
leaving one out. Not here: whose counts they are (`ml.send_time`).
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOURS = 168
_LOWEST, _HIGHEST = 1e-4, 0.95


@dataclass(frozen=True)
class Pooling:
    """hours: standard deviation of the kernel. other_days: weight of the same hours of other
    days. level: weight of every hour whatever its distance. strength: expected responses that
    the base curve is worth."""

    hours: float
    other_days: float
    level: float
    strength: float


_KERNELS = tuple(
    Pooling(hours, other_days, level, 1.0)
    for hours in (1.0, 2.0, 3.5)
    for other_days in (0.3, 1.0)
    for level in (0.03, 0.1, 0.3)
)
_STRENGTHS = 2.0 ** np.arange(-1, 10)


def lift(pooling: Pooling, won: Floats, expected: Floats) -> Floats:
    """(K won + s) / (K expected + s), float[rows, 168]: how far counts exceed what is expected."""
    above = _smoothed(pooling, won) + pooling.strength
    return above / (_smoothed(pooling, expected) + pooling.strength)


def pool(pooling: Pooling, base: Floats, won: Floats, sent: Floats) -> Floats:
    """Chances of a response: base x lift over the base, kept within 0.0001..0.95."""
    return np.clip(base * lift(pooling, won, sent * base), _LOWEST, _HIGHEST)


def bent(base: Floats, by: Floats) -> Floats:
    """base x by, scaled back to the mean of each row of base, float[rows, 168]."""
    product = base * by
    scale = base.mean(axis=1, keepdims=True) / product.mean(axis=1, keepdims=True)
    return np.clip(product * scale, _LOWEST, _HIGHEST)


def tune(base: Floats, won: Floats, sent: Floats) -> Pooling:
    """The kernel and strength with the least leave-one-out log loss; ties go to the first."""
    spectra = np.fft.rfft(won), np.fft.rfft(sent * base)
    at = np.nonzero(sent)
    cells = base[at], won[at], sent[at]
    best, least = _KERNELS[0], np.inf
    for kernel in _KERNELS:
        near_won, near = (np.fft.irfft(s * _response(kernel), n=HOURS)[at] for s in spectra)
        for strength in _STRENGTHS:
            loss = _leave_one_out(*cells, near_won, near, float(strength))
            if loss < least - 1e-12:
                best, least = replace(kernel, strength=float(strength)), loss
    return best


def log_loss_of(pooling: Pooling, base: Floats, won: Floats, sent: Floats) -> float:
    """Leave-one-out log loss (nats per send) of one choice."""
    at = np.nonzero(sent)
    near_won, near = _smoothed(pooling, won)[at], _smoothed(pooling, sent * base)[at]
    return _leave_one_out(base[at], won[at], sent[at], near_won, near, pooling.strength)


def _leave_one_out(
    base: Floats, won: Floats, sent: Floats, near_won: Floats, near: Floats, strength: float
) -> float:
    """Each send is predicted without itself: it weighs 1 in its own hour's sums."""
    expected = np.maximum(near - base, 0.0) + strength
    if_won = np.clip(
        base * (np.maximum(near_won - 1, 0.0) + strength) / expected, _LOWEST, _HIGHEST
    )
    if_lost = np.clip(base * (np.maximum(near_won, 0.0) + strength) / expected, _LOWEST, _HIGHEST)
    loss = won * np.log(if_won) + (sent - won) * np.log1p(-if_lost)
    return float(-loss.sum() / max(sent.sum(), 1.0))


def _smoothed(pooling: Pooling, amounts: Floats) -> Floats:
    """Circular convolution with the kernel, row by row; counts stay at or above zero."""
    spectrum = np.fft.rfft(amounts) * _response(replace(pooling, strength=1.0))
    return np.maximum(np.fft.irfft(spectrum, n=HOURS), 0.0)


@cache
def _response(kernel: Pooling) -> NDArray[np.complex128]:
    """Transform of the kernel: 1 at its own hour, falling with distance around the clock."""
    lag = np.arange(HOURS)
    in_week, in_day = np.minimum(lag, HOURS - lag), np.minimum(lag % 24, 24 - lag % 24)
    near = np.exp(-(in_week**2) / (2 * kernel.hours**2))
    alike = kernel.other_days * np.exp(-(in_day**2) / (2 * kernel.hours**2))
    return np.fft.rfft(kernel.level + (1 - kernel.level) * np.maximum(near, alike))
