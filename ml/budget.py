"""Tomorrow's daily budgets: where the next unit of money is worth most, in small steps.

Here: beliefs about value per unit of spend, and the split of a total within limits. Not here:
approving and pushing a plan, the platforms, currency conversion (inputs are in one currency).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaln

from ml.cards import ModelCard, Refusal, data_digest, model_version

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

COLUMNS = ["platform", "campaign_id", "previous_amount", "proposed_amount", "reason"]
KEYS = ["platform", "campaign_id"]
DAILY_STEP = 0.2
"""Greatest change a day: larger ones may restart a platform's learning phase (Meta, about 20 %)."""
ELASTICITY = 0.7
"""Value grows as spend to this power: assumed, until spend has varied enough to measure it."""
DRAWS = 2_000
_STRENGTHS = np.logspace(0, 3, 31)
_PRIOR_CONVERSIONS = 5.0
_VALUE_PRIOR_CONVERSIONS = 10.0


@dataclass(frozen=True)
class Allocation:
    """frame: platform, campaign_id, previous_amount, proposed_amount, reason; one row per input
    row, in the order of platform and campaign."""

    frame: pd.DataFrame
    card: ModelCard


@dataclass(frozen=True)
class Limits:
    """Per campaign and day, in the workspace's currency. A floor lowers no step: a campaign below
    it climbs by at most 20 % a day, and one above the ceiling falls likewise."""

    floor_amount: float = 0.0
    ceiling_amount: float | None = None
    daily_step: float = DAILY_STEP
    minor_digits: int = 2


def allocate(
    inputs: pd.DataFrame,
    as_of: datetime,
    seed: int,
    total: float | None = None,
    limits: Limits | None = None,
) -> Allocation | Refusal:
    """Propose a daily budget for every campaign.

    inputs: activation.budget_inputs (platform, campaign_id, channel, spend_28d_amount,
    conversions_28d, value_28d_amount, current_daily_budget_amount, is_learning; optional
    floor_amount and ceiling_amount per campaign beat those of `limits`). total: daily budget of
    all campaigns together; None keeps today's.

    Conversions per unit of spend are Gamma, shrunk to the channel (and channels to the account)
    with a strength fitted by marginal likelihood; the mean value of a conversion is log-normal,
    shrunk likewise. Each of 2,000 joint draws (Thompson 1933) is split by maximising
    Σ value_c (b_c / s_c)^0.7 over budgets b, s_c being the mean daily spend behind the value,
    within floors, ceilings and ±20 % of today; the proposal is the mean of those splits, so it
    moves as far as the evidence is one-sided. Rounded to minor units by largest remainder.

    Learning campaigns and those without a budget stay as they are, outside the split; the
    rest keeps the total to the minor unit, or comes as near as the limits allow. Refuses when
    no campaign may move or nothing was ever spent or earned. Raises ValueError on duplicate
    campaigns and on negative amounts.
    """
    limits = limits or Limits()
    rows = _checked(inputs)
    params = {"seed": seed, "total": total, "limits": vars(limits)}
    version = model_version("budget", as_of, data_digest(rows), params)
    may_move = rows["current_daily_budget_amount"].gt(0) & ~rows["is_learning"]
    moving = rows[may_move].reset_index(drop=True)
    if problem := _problem(moving):
        return Refusal(ModelCard("budget", version, as_of, {"rows": len(rows)}, "refused", problem))
    draws, facts = _value_draws(moving, np.random.default_rng(seed))
    low, high = _bounds(moving, limits)
    before = _minor(moving["current_daily_budget_amount"], limits)
    fixed = _minor(rows.loc[~may_move, "current_daily_budget_amount"].fillna(0), limits).sum()
    wanted = before.sum() if total is None else round(total * 10**limits.minor_digits) - fixed
    sum_minor = int(np.clip(wanted, low.sum(), high.sum()))
    splits = _split(draws, _daily_spend(moving, limits), low, high, sum_minor)
    after = _rounded(splits.mean(axis=0), low, high, sum_minor)
    reasons = _reasons(before, after, low, high, draws.mean(axis=0))
    frame = _frame(rows, may_move, after / 10**limits.minor_digits, reasons)
    off = sum_minor - int(wanted)
    reason = f"{len(moving)} of {len(rows)} campaigns may move"
    if off:
        reason += f"; the total is {off:+d} minor units off: limits forbid more"
    metrics = {"rows": len(rows), "off_total_minor": off, **facts, **params}
    return Allocation(frame, ModelCard("budget", version, as_of, metrics, "passed", reason))


def _checked(inputs: pd.DataFrame) -> pd.DataFrame:
    if inputs.duplicated(KEYS).any():
        raise ValueError("a campaign appears twice in the budget inputs")
    rows = inputs.sort_values(KEYS, ignore_index=True)
    amounts = ["spend_28d_amount", "conversions_28d", "value_28d_amount"]
    limits = [name for name in ("floor_amount", "ceiling_amount") if name in rows]
    for name in [*amounts, *limits, "current_daily_budget_amount"]:
        rows[name] = rows[name].astype("float64")
        if rows[name].lt(0).any():
            raise ValueError(f"{name} is negative for a campaign")
    rows[amounts] = rows[amounts].fillna(0.0)
    rows["is_learning"] = rows["is_learning"].fillna(False).astype(bool)
    return rows


def _problem(moving: pd.DataFrame) -> str | None:
    if moving.empty:
        return "no campaign may move: all are learning or have no budget"
    if not moving["spend_28d_amount"].sum() > 0:
        return "no campaign that may move has spent anything in 28 days"
    if not moving["value_28d_amount"].sum() > 0:
        return "no campaign that may move has earned anything in 28 days"
    return None


def _value_draws(moving: pd.DataFrame, rng: np.random.Generator) -> tuple[Floats, dict[str, Any]]:
    """Joint draws of value per unit of spend, float[draws, campaigns], and what was learned."""
    channel = pd.factorize(moving["channel"].astype(object), use_na_sentinel=False)[0]
    spend, won, value = (
        moving[name].to_numpy(dtype=np.float64)
        for name in ("spend_28d_amount", "conversions_28d", "value_28d_amount")
    )
    # Value without conversions (rounded or view-through credit) still is evidence of one.
    won = np.where((won == 0) & (value > 0), 1.0, won)
    spent, sold, earned = (
        np.bincount(channel, weights=a).astype(np.float64) for a in (spend, won, value)
    )
    account_rate = won.sum() / spend.sum()
    rate = _shrunk_ratio(sold, spent, account_rate, _PRIOR_CONVERSIONS / account_rate)
    worth = _shrunk_ratio(earned, sold, value.sum() / won.sum(), _VALUE_PRIOR_CONVERSIONS)
    strength = _strength(won, spend, rate[channel])
    shape = won + strength
    rates = rng.gamma(shape, 1.0, (DRAWS, len(won))) / (spend + strength / rate[channel])
    prior = _VALUE_PRIOR_CONVERSIONS
    mean_value = (value + worth[channel] * prior) / (won + prior)
    # Log-normal around the mean with a coefficient of variation of 1 per conversion.
    spread = np.sqrt(np.log1p(1 / (won + prior)))
    noise = np.exp(spread * rng.standard_normal((DRAWS, len(won))) - spread**2 / 2)
    facts = {
        "strength_conversions": strength,
        "value_per_spend": dict(zip(moving["campaign_id"], (rates * mean_value).mean(axis=0),
                                    strict=True)),
    }  # fmt: skip
    return rates * mean_value * noise, facts


def _shrunk_ratio(top: Floats, bottom: Floats, whole: float, weight: float) -> Floats:
    """top / bottom, drawn towards `whole` as if it had been seen over `weight` more of bottom."""
    return (top + whole * weight) / (bottom + weight)


def _strength(won: Floats, spend: Floats, rate: Floats) -> float:
    """Conversions that the channel's rate is worth: Gamma-Poisson marginal likelihood on a grid
    with a log-normal prior around 20."""
    a, expected = _STRENGTHS[:, None], spend * rate
    terms = gammaln(won + a) - gammaln(a) + a * np.log(a) - (won + a) * np.log(expected + a)
    prior = -0.5 * np.log(_STRENGTHS / 20.0) ** 2
    return float(_STRENGTHS[int(np.argmax(terms.sum(axis=1) + prior))])


def _minor(amounts: pd.Series, limits: Limits) -> Ints:
    return np.rint(amounts.to_numpy() * 10**limits.minor_digits).astype(np.int64)


def _daily_spend(moving: pd.DataFrame, limits: Limits) -> Floats:
    """Minor units a day behind the measured value; the budget where nothing was spent."""
    spend = moving["spend_28d_amount"].to_numpy() / 28 * 10**limits.minor_digits
    budget = _minor(moving["current_daily_budget_amount"], limits)
    return np.maximum(np.where(spend > 0, spend, budget), 0.5)


def _bounds(moving: pd.DataFrame, limits: Limits) -> tuple[Ints, Ints]:
    """Lowest and highest minor units of each campaign; the daily step beats floor and ceiling."""
    unit = 10**limits.minor_digits
    now = _minor(moving["current_daily_budget_amount"], limits)
    # A millionth of a unit forgives binary fractions such as 1.2 x 100.
    low = np.ceil(now * (1 - limits.daily_step) - 1e-6).astype(np.int64)
    high = np.floor(now * (1 + limits.daily_step) + 1e-6).astype(np.int64)
    floor = np.full(len(now), np.ceil(limits.floor_amount * unit - 1e-6))
    ceiling = np.full(len(now), np.inf)
    if limits.ceiling_amount is not None:
        ceiling[:] = np.floor(limits.ceiling_amount * unit + 1e-6)
    for name, bound, towards in (("floor_amount", floor, np.ceil),
                                 ("ceiling_amount", ceiling, np.floor)):  # fmt: skip
        if name in moving:
            own = towards(moving[name].to_numpy() * unit)
            bound[~np.isnan(own)] = own[~np.isnan(own)]
    lowest = np.clip(floor, low, high)
    highest = np.clip(np.maximum(ceiling, floor), lowest, high)
    return lowest.astype(np.int64), highest.astype(np.int64)


def _split(draws: Floats, spend: Floats, low: Ints, high: Ints, sum_minor: int) -> Floats:
    """Best split of each draw in minor units, float[draws, campaigns], rows of equal sum.

    Marginal values are equal inside the limits: b_c = s_c (v_c / price)^(1 / (1 - elasticity)),
    with one price per draw, found by bisection of its logarithm.
    """
    power = 1 / (1 - ELASTICITY)
    base = np.log(spend) + power * np.log(draws)
    bottom = (base - np.log(np.maximum(high, 0.5))).min(axis=1, keepdims=True) - 1
    top = (base - np.log(np.maximum(low, 0.5))).max(axis=1, keepdims=True) + 1
    for _ in range(60):
        middle = (bottom + top) / 2
        too_much = _at_price(base, middle, low, high).sum(axis=1, keepdims=True) > sum_minor
        bottom, top = np.where(too_much, middle, bottom), np.where(too_much, top, middle)
    return _at_price(base, (bottom + top) / 2, low, high)


def _at_price(base: Floats, price: Floats, low: Ints, high: Ints) -> Floats:
    return np.clip(np.exp(np.minimum(base - price, 60.0)), low, high)


def _rounded(amounts: Floats, low: Ints, high: Ints, sum_minor: int) -> Ints:
    """Whole minor units within the bounds that add up; largest remainders first, then the order
    of campaigns."""
    whole = np.clip(np.floor(amounts + 1e-9).astype(np.int64), low, high)
    missing = sum_minor - int(whole.sum())
    while missing:
        step = 1 if missing > 0 else -1
        free = np.flatnonzero(whole < high if step > 0 else whole > low)
        ranked = free[np.argsort(-step * (amounts - whole)[free], kind="stable")][: abs(missing)]
        whole[ranked] += step
        missing -= step * len(ranked)
    return whole


def _reasons(before: Ints, after: Ints, low: Ints, high: Ints, worth: Floats) -> list[str]:
    """One sentence per campaign; `worth` is the expected value per unit of spend."""
    account = float(np.average(worth, weights=np.maximum(before, 1)))
    sentences = []
    for old, new, least, most, value in zip(before, after, low, high, worth, strict=True):
        move = "raised" if new > old else "lowered" if new < old else "kept"
        limit = ", as far as its limits allow" if new != old and new in (least, most) else ""
        sentences.append(
            f"{move}{limit}: a unit of spend is worth {value:.2f}, {account:.2f} on average"
        )
    return sentences


def _frame(
    rows: pd.DataFrame, may_move: pd.Series, proposed: Floats, reasons: list[str]
) -> pd.DataFrame:
    frame = rows[KEYS].copy()
    frame["previous_amount"] = rows["current_daily_budget_amount"]
    frame["proposed_amount"] = rows["current_daily_budget_amount"]
    is_new = ~rows["current_daily_budget_amount"].gt(0)
    frame["reason"] = np.where(is_new, "untouched: no budget in force", "untouched: still learning")
    frame.loc[may_move, "proposed_amount"] = proposed
    frame.loc[may_move, "reason"] = reasons
    return frame[COLUMNS]
