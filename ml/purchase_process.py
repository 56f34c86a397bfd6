"""How often people order and how much: BG/NBD and Gamma-Gamma by maximum likelihood.

Belongs here: the two likelihoods with their gradients, and the expectations that follow. Keep
out: person ids, gates and cards; `lifetime_value` asks the question.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, gammaln, hyp2f1

Floats = NDArray[np.float64]
Likelihood = Callable[[Floats], tuple[float, Floats]]

LOG_BOUNDS = (-8.0, 8.0)
"""Bounds of every parameter's logarithm, times scaled to a mean age (or amount) of one."""


@dataclass(frozen=True)
class History:
    """Repeat orders of each person: count, time of the last one, and age, both since the first.

    Times share one unit (days here, weeks in the papers); `frequency` 0 has `recency` 0.
    """

    frequency: Floats
    recency: Floats
    age: Floats


@dataclass(frozen=True)
class OrderRate:
    """BG/NBD: orders come at a Gamma(r, α) rate; after each a Beta(a, b) coin ends them.

    `spread`: standard errors of the logarithms of r, α, a, b.
    """

    r: float
    alpha: float
    a: float
    b: float
    spread: tuple[float, ...]
    log_likelihood: float
    is_converged: bool

    def expected_orders(self, history: History, horizon: float) -> Floats:
        """Orders expected within `horizon` after now: equation 10 of Fader, Hardie & Lee 2005.

        The hypergeometric term is Euler-transformed, so that its first two parameters do not
        grow with the number of orders: no overflow for people who order a thousand times.
        """
        x, last, age = history.frequency, history.recency, history.age
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6
        reach = horizon / (self.alpha + age + horizon)
        series = hyp2f1(a - 1, a + self.b - 1 - self.r, a + self.b + x - 1, reach)
        growth = (a + self.b + x - 1) / (a - 1) * (1 - (1 - reach) ** (a - 1) * series)
        return np.maximum(growth, 0.0) * self.alive(History(x, last, age))

    def alive(self, history: History) -> Floats:
        """Probability that a person still orders, given the history."""
        x = history.frequency
        waited = (self.r + x) * np.log((self.alpha + history.age) / (self.alpha + history.recency))
        ended = np.log(self.a / (self.b + np.maximum(x, 1) - 1)) + waited
        return np.where(x > 0, 1 / (1 + np.exp(np.minimum(ended, 700))), 1.0)


@dataclass(frozen=True)
class OrderAmount:
    """Gamma-Gamma: amounts vary as Gamma(p, ν) around a person, ν as Gamma(q, v) over people.

    `spread`: standard errors of the logarithms of p, q, v.
    """

    p: float
    q: float
    v: float
    spread: tuple[float, ...]
    log_likelihood: float
    is_converged: bool

    def expected_amount(self, frequency: Floats, mean_amount: Floats) -> Floats:
        """Mean amount of a coming order; `mean_amount` is ignored where `frequency` is 0.

        Infinite or negative unless q > 1: callers refuse such a fit.
        """
        spent = np.where(frequency > 0, frequency * np.nan_to_num(mean_amount), 0.0)
        return self.p * (self.v + spent) / (self.p * frequency + self.q - 1)


def fit_order_rate(history: History) -> OrderRate:
    """Maximum likelihood of BG/NBD, equation 6 of Fader, Hardie & Lee 2005.

    Equal histories are counted once with their weight. Raises ValueError without a repeat order.
    """
    if not (history.frequency > 0).any():
        raise ValueError("nobody has ordered twice")
    scale = float(history.age.mean())
    table = np.column_stack([history.frequency, history.recency / scale, history.age / scale])
    (x, last, age), weights = _counted(table)

    def likelihood(logs: Floats) -> tuple[float, Floats]:
        return _order_rate_likelihood(np.exp(logs), x, last, age, weights)

    peak = _maximise(likelihood, 4)
    r, alpha, a, b = peak.parameters
    # Times were divided by `scale`: back to a density per repeat order in the caller's unit.
    value = peak.log_likelihood - float(history.frequency.sum() * np.log(scale))
    return OrderRate(r, alpha * scale, a, b, peak.spread, value, peak.is_converged)


def fit_order_amount(frequency: Floats, mean_amount: Floats) -> OrderAmount:
    """Maximum likelihood of Gamma-Gamma over persons with `frequency` > 0 and amounts > 0.

    Fader & Hardie 2013, "The Gamma-Gamma Model of Monetary Value".
    """
    scale = float(np.average(mean_amount, weights=frequency))
    (x, mean), weights = _counted(np.column_stack([frequency, mean_amount / scale]))

    def likelihood(logs: Floats) -> tuple[float, Floats]:
        return _order_amount_likelihood(np.exp(logs), x, mean, weights)

    peak = _maximise(likelihood, 3)
    p, q, v = peak.parameters
    value = peak.log_likelihood - float(len(frequency) * np.log(scale))
    return OrderAmount(p, q, v * scale, peak.spread, value, peak.is_converged)


def _order_rate_likelihood(
    parameters: Floats, x: Floats, last: Floats, age: Floats, weights: Floats
) -> tuple[float, Floats]:
    r, alpha, a, b = parameters
    repeats = x > 0
    log_alive = -(r + x) * np.log(alpha + age)
    before = np.where(repeats, b + x - 1, 1.0)
    log_ended = np.where(repeats, np.log(a / before) - (r + x) * np.log(alpha + last), -np.inf)
    either = np.logaddexp(log_alive, log_ended)
    alive, ended = np.exp(log_alive - either), np.exp(log_ended - either)
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    common += gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    waiting = alive * np.log(alpha + age) + ended * np.log(alpha + last)
    of_r = digamma(r + x) - digamma(r) + np.log(alpha) - waiting
    of_alpha = r / alpha - (r + x) * (alive / (alpha + age) + ended / (alpha + last))
    of_a = digamma(a + b) - digamma(a + b + x) + ended / a
    of_b = digamma(a + b) + digamma(b + x) - digamma(b) - digamma(a + b + x) - ended / before
    gradient = np.array([weights @ part for part in (of_r, of_alpha, of_a, of_b)])
    return float(weights @ (common + either)), gradient * parameters


def _order_amount_likelihood(
    parameters: Floats, x: Floats, mean: Floats, weights: Floats
) -> tuple[float, Floats]:
    p, q, v = parameters
    shape, total = p * x, x * mean
    values = gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(v)
    values += shape * np.log(total) - np.log(mean) - (shape + q) * np.log(total + v)
    gap = digamma(shape + q) - np.log(total + v)
    of_p = x * (gap - digamma(shape) + np.log(total))
    of_q = gap - digamma(q) + np.log(v)
    of_v = q / v - (shape + q) / (total + v)
    gradient = np.array([weights @ part for part in (of_p, of_q, of_v)])
    return float(weights @ values), gradient * parameters


def _counted(table: Floats) -> tuple[Floats, Floats]:
    rows, counts = np.unique(table, axis=0, return_counts=True)
    return rows.T, counts.astype(np.float64)


@dataclass(frozen=True)
class _Peak:
    parameters: list[float]
    spread: tuple[float, ...]
    log_likelihood: float
    is_converged: bool


def _maximise(likelihood: Likelihood, size: int) -> _Peak:
    """The peak over the parameters' logarithms, from ones, with its curvature."""
    best = minimize(
        _lost(likelihood),
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        bounds=[LOG_BOUNDS] * size,
        options={"ftol": 1e-14, "gtol": 1e-8, "maxiter": 500},
    )
    inside = (best.x > LOG_BOUNDS[0] + 1e-6) & (best.x < LOG_BOUNDS[1] - 1e-6)
    slope = np.abs(best.jac[inside])
    is_converged = bool(np.isfinite(best.fun) and (not slope.size or slope.max() < 1e-4))
    spread = tuple(np.where(inside, _spread(likelihood, best.x), np.nan).tolist())
    parameters = np.exp(best.x).tolist()
    return _Peak(parameters, spread, likelihood(best.x)[0], is_converged)


def _spread(likelihood: Likelihood, logs: Floats) -> Floats:
    """Standard errors of the logarithms from the observed information; nan on a flat ridge."""
    step = 1e-4 * np.eye(len(logs))
    information = np.array(
        [(likelihood(logs - side)[1] - likelihood(logs + side)[1]) / 2e-4 for side in step]
    )
    symmetric = (information + information.T) / 2
    if not np.isfinite(symmetric).all() or np.linalg.eigvalsh(symmetric)[0] <= 0:
        return np.full(len(logs), np.nan)
    return np.sqrt(np.diag(np.linalg.inv(symmetric)))


def _lost(likelihood: Likelihood) -> Likelihood:
    scale: list[float] = []

    def loss(logs: Floats) -> tuple[float, Floats]:
        value, gradient = likelihood(logs)
        if not scale:
            scale.append(max(abs(value), 1.0))
        return -value / scale[0], -gradient / scale[0]

    return loss
