"""Lifetime value: orders and revenue expected from each person over a horizon.

Belongs here: the question, its holdout check, its gate and its card. Keep out: the likelihoods
(`purchase_process`) and how an order is counted (the table `features.person_rfm`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, pearsonr, spearmanr

from ml.cards import ModelCard, Refusal, data_digest, model_version
from ml.purchase_process import (
    History,
    OrderAmount,
    OrderRate,
    fit_order_amount,
    fit_order_rate,
)

MODEL = "lifetime_value"
HORIZON_DAYS = 365
PERSONS_AT_LEAST = 100
REPEATERS_AT_LEAST = 50
AGE_DAYS_AT_LEAST = 60
CORRELATION_AT_MOST = 0.3
HOLDOUT_ORDERS_AT_LEAST = 50
HOLDOUT_RATIO_WITHIN = (0.5, 2.0)
HOLDOUT_GROUPS = 8

RFM_COLUMNS = ("person_id", "frequency", "recency_days", "age_days", "mean_order_amount")
SCORE_COLUMNS = (
    "person_id",
    "as_of",
    "horizon_days",
    "expected_orders",
    "expected_revenue_amount",
    "model_version",
)
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Holdout:
    """Orders of the held-out time by number of repeat orders before it; the last group is
    `HOLDOUT_GROUPS - 1` or more."""

    days: float
    persons: NDArray[np.float64]
    predicted: NDArray[np.float64]
    actual: NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A lifetime-value model that passed its gate."""

    card: ModelCard
    horizon_days: int
    rate: OrderRate
    amount: OrderAmount
    holdout: Holdout | None


def fit(
    rfm: pd.DataFrame,
    as_of: datetime,
    orders: pd.DataFrame | None = None,
    *,
    horizon_days: int = HORIZON_DAYS,
) -> Fitted | Refusal:
    """Fit both parts, or refuse with a card.

    `rfm`: `features.person_rfm`, one row per person who has ordered; frequency counts repeat
    orders, mean_order_amount is the mean over all orders, the first included. `orders`
    (person_id, ordered_at, net_revenue_amount), when given, is split in time to check the
    forecast of the orders. Raises ValueError when a column is missing.
    """
    rows = _valid(rfm)
    version = model_version(MODEL, as_of, data_digest(rows), {"horizon_days": horizon_days})
    metrics = _described(rows, rfm)
    lack = _lacking(rows)
    if lack:
        return _refusal(version, as_of, metrics, lack)
    rate = fit_order_rate(_history(rows))
    metrics["order_rate"] = _parameters(rate, ("r", "alpha", "a", "b"))
    holdout = None if orders is None else hold_out(orders, as_of)
    metrics["holdout"] = _holdout_figures(holdout)
    metrics.update(_dependence(rows))
    spenders = rows[rows["amount"] > 0]
    amount = fit_order_amount(_orders(spenders), spenders["amount"].to_numpy())
    metrics["order_amount"] = _parameters(amount, ("p", "q", "v"))
    weakness = _weakness(rate, amount, metrics)
    if weakness:
        return _refusal(version, as_of, metrics, weakness)
    reason = f"{metrics['repeaters']} repeaters, amounts independent of frequency"
    if holdout is not None:
        reason += f", held-out orders forecast at {metrics['holdout']['ratio']:.2f} of the actual"
    card = ModelCard(MODEL, version, as_of, metrics, "passed", reason)
    return Fitted(card, horizon_days, rate, amount, holdout)


def score(fitted: Fitted, rfm: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Rows for `ml.lifetime_values`, ordered by person; rows that are no history are left out."""
    rows = _valid(rfm)
    orders = fitted.rate.expected_orders(_history(rows), fitted.horizon_days)
    spent = np.maximum(rows["amount"].to_numpy(), 0)
    revenue = orders * fitted.amount.expected_amount(_orders(rows), spent)
    frame = pd.DataFrame(
        {
            "person_id": rows["person_id"],
            "as_of": pd.Series(pd.Timestamp(as_of), index=rows.index, dtype="datetime64[us, UTC]"),
            "horizon_days": fitted.horizon_days,
            "expected_orders": orders,
            "expected_revenue_amount": revenue,
            "model_version": fitted.card.model_version,
        }
    )
    return frame[list(SCORE_COLUMNS)]


def summarise(orders: pd.DataFrame, until: datetime) -> pd.DataFrame:
    """`RFM_COLUMNS` per person from orders up to `until`, as `features.person_rfm` counts them.

    Orders of one person within one UTC day are one order, as in the papers. Only orders with a
    positive amount count.
    """
    at = pd.to_datetime(orders["ordered_at"], utc=True)
    amount = orders["net_revenue_amount"].astype(np.float64)
    kept = orders["person_id"].notna() & (at <= pd.Timestamp(until)) & (amount > 0)
    table = pd.DataFrame({"person_id": orders["person_id"], "at": at, "amount": amount})[kept]
    days = (
        table.groupby(["person_id", table["at"].dt.floor("D").rename("day")], sort=True)
        .agg(at=("at", "min"), amount=("amount", "sum"))
        .reset_index()
    )
    people = days.groupby("person_id").agg(
        first=("at", "min"), last=("at", "max"), orders=("at", "size"), mean=("amount", "mean")
    )
    return pd.DataFrame(
        {
            "person_id": people.index,
            "frequency": people["orders"].to_numpy(dtype=np.float64) - 1,
            "recency_days": _days(people["last"] - people["first"]),
            "age_days": _days(pd.Timestamp(until) - people["first"]),
            "mean_order_amount": people["mean"].to_numpy(),
        }
    )


def hold_out(orders: pd.DataFrame, as_of: datetime) -> Holdout | None:
    """Fit on the first two thirds of the time, forecast the last; None when too little is there."""
    at = pd.to_datetime(orders["ordered_at"], utc=True)
    past = orders[at <= pd.Timestamp(as_of)]
    if past.empty:
        return None
    length: timedelta = (pd.Timestamp(as_of) - at[past.index].min()) / 3
    cut = as_of - length
    before = _valid(summarise(past, cut))
    if _lacking(before):
        return None
    until_now = _valid(summarise(past, as_of)).set_index("person_id")["frequency"]
    actual = until_now.reindex(before["person_id"]).to_numpy() - before["frequency"].to_numpy()
    days = length.total_seconds() / DAY_SECONDS
    expected = fit_order_rate(_history(before)).expected_orders(_history(before), days)
    group = np.minimum(before["frequency"].to_numpy(), HOLDOUT_GROUPS - 1).astype(int)
    return Holdout(
        days, _sums(group, np.ones(len(group))), _sums(group, expected), _sums(group, actual)
    )


def _sums(group: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(group, weights=weights, minlength=HOLDOUT_GROUPS).astype(np.float64)


def _days(lengths: pd.Series) -> NDArray[np.float64]:
    return (lengths.dt.total_seconds() / DAY_SECONDS).to_numpy(dtype=np.float64)


def _valid(rfm: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in RFM_COLUMNS if name not in rfm]
    if missing:
        raise ValueError(f"person_rfm lacks the column {missing[0]}")
    rows = pd.DataFrame({"person_id": rfm["person_id"]})
    for name in RFM_COLUMNS[1:]:
        rows[name] = pd.to_numeric(rfm[name], errors="coerce").astype(np.float64)
    rows = rows.rename(columns={"mean_order_amount": "amount"})
    rows.loc[~np.isfinite(rows["amount"]), "amount"] = np.nan
    numbers = rows[["frequency", "recency_days", "age_days"]].to_numpy()
    is_history = np.isfinite(numbers).all(axis=1) & (numbers >= 0).all(axis=1)
    is_history &= numbers[:, 1] <= numbers[:, 2] + 1e-9
    # Several orders on the first day are one order: no repeat, whatever hours lie between.
    rows["recency_days"] = rows["recency_days"].where(rows["frequency"] > 0, 0.0)
    rows = rows[is_history].drop_duplicates("person_id")
    return rows.sort_values("person_id", ignore_index=True)


def _history(rows: pd.DataFrame) -> History:
    return History(
        rows["frequency"].to_numpy(), rows["recency_days"].to_numpy(), rows["age_days"].to_numpy()
    )


def _orders(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Orders behind each mean amount: the first and its repeats; 0 where there is no amount."""
    return np.where(rows["amount"].isna(), 0.0, rows["frequency"].to_numpy() + 1)


def _paying_repeaters(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["frequency"] > 0) & (rows["amount"] > 0)]


def _described(rows: pd.DataFrame, rfm: pd.DataFrame) -> dict[str, Any]:
    return {
        "data_window": {"days": float(rows["age_days"].max()) if len(rows) else 0.0},
        "features": list(RFM_COLUMNS[1:]),
        "rows": len(rows),
        "rows_left_out": len(rfm) - len(rows),
        "repeaters": int((rows["frequency"] > 0).sum()),
        "paying_repeaters": len(_paying_repeaters(rows)),
    }


def _lacking(rows: pd.DataFrame) -> str | None:
    if len(rows) < PERSONS_AT_LEAST:
        return f"needs {PERSONS_AT_LEAST} persons who ordered, has {len(rows)}"
    repeaters = len(_paying_repeaters(rows))
    if repeaters < REPEATERS_AT_LEAST:
        return f"needs {REPEATERS_AT_LEAST} persons with a paid repeat order, has {repeaters}"
    oldest = float(rows["age_days"].max())
    if oldest < AGE_DAYS_AT_LEAST:
        return f"needs {AGE_DAYS_AT_LEAST} days of history, has {oldest:.0f}"
    return None


def _parameters(part: OrderRate | OrderAmount, names: tuple[str, ...]) -> dict[str, Any]:
    figures: dict[str, Any] = {"log_likelihood": part.log_likelihood}
    for name, error in zip(names, part.spread, strict=True):
        value = float(getattr(part, name))
        factor = np.exp(norm.ppf(0.975) * error)
        figures[name] = value
        figures[f"{name}_interval"] = [value / factor, value * factor]
    return figures


def _dependence(rows: pd.DataFrame) -> dict[str, float]:
    """Correlation of frequency and mean amount among repeaters: Gamma-Gamma assumes none.

    The gate reads the rank correlation, which a handful of wholesalers cannot move.
    """
    repeaters = _paying_repeaters(rows)
    frequency, amount = repeaters["frequency"], repeaters["amount"]
    if frequency.nunique() < 2 or amount.nunique() < 2:
        return {"rank_correlation": 0.0, "correlation": 0.0}
    return {
        "rank_correlation": float(spearmanr(frequency, amount).statistic),
        "correlation": float(pearsonr(frequency, amount).statistic),
    }


def _holdout_figures(holdout: Holdout | None) -> dict[str, Any]:
    if holdout is None:
        return {"reason": "not checked: no orders given, or too few before the cut"}
    predicted, actual = float(holdout.predicted.sum()), float(holdout.actual.sum())
    return {
        "days": holdout.days,
        "persons": int(holdout.persons.sum()),
        "predicted_orders": predicted,
        "actual_orders": actual,
        "ratio": predicted / actual if actual else None,
    }


def _weakness(rate: OrderRate, amount: OrderAmount, metrics: Mapping[str, Any]) -> str | None:
    """Why the gate stays shut; None when it opens."""
    correlation = metrics["rank_correlation"]
    if abs(correlation) > CORRELATION_AT_MOST:
        return (
            f"order amounts depend on order frequency (rank correlation {correlation:+.2f}, at "
            f"most {CORRELATION_AT_MOST} allowed), so revenue cannot be had from their product"
        )
    if not (rate.is_converged and amount.is_converged):
        return "the likelihood has no clear peak in this data"
    if amount.q <= 1:
        return f"amounts vary so widely that their mean is undefined (q {amount.q:.2f}, above 1)"
    held = metrics["holdout"]
    if held.get("actual_orders", 0) >= HOLDOUT_ORDERS_AT_LEAST:
        low, high = HOLDOUT_RATIO_WITHIN
        if not low <= held["ratio"] <= high:
            return (
                f"forecast {held['predicted_orders']:.0f} orders for the held-out "
                f"{held['days']:.0f} days, {held['actual_orders']:.0f} came"
            )
    return None


def _refusal(version: str, as_of: datetime, metrics: Mapping[str, Any], reason: str) -> Refusal:
    return Refusal(ModelCard(MODEL, version, as_of, metrics, "refused", reason))
