"""Behaviour as points in a space where distances mean something.

Belongs here: which features describe behaviour, how skewed and scaled ones become comparable,
and the few directions that carry most of it. Keep out: clusters, names and persons' fates.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import skew
from sklearn.decomposition import PCA

Floats = NDArray[np.float64]

BEHAVIOUR = (
    "days_since_first_seen",
    "days_since_last_seen",
    "order_count",
    "orders_90d_count",
    "average_order_amount",
    "net_revenue_365d_amount",
    "distinct_products_count",
    "discount_share",
    "refund_share",
    "sessions_90d_count",
    "products_viewed_30d_count",
    "products_added_30d_count",
    "emails_opened_90d_count",
    "emails_clicked_90d_count",
    "support_tickets_90d_count",
)
"""Defined for buyers and visitors alike; a person without orders has none, not an unknown."""

SKEW_FROM = 1.0
SCALED_WITHIN = 4.0
DIRECTIONS_AT_MOST = 5
VARIANCE_SHARE = 0.9
JITTER = 0.05
"""Equal persons would be infinitely dense; each is moved by at most this, fixed by its id."""


@dataclass(frozen=True)
class Space:
    """A fitted transform: signed log of skewed features, robust scale, principal directions."""

    features: tuple[str, ...]
    is_skewed: NDArray[np.bool_]
    fill: Floats
    centre: Floats
    scale: Floats
    mean: Floats
    directions: Floats

    def scaled(self, people: pd.DataFrame) -> Floats:
        """People × features, in robust standard deviations around the median."""
        values = _unskewed(raw(people, self.features), self.is_skewed)
        values = np.where(np.isnan(values), self.fill, values)
        return np.clip((values - self.centre) / self.scale, -SCALED_WITHIN, SCALED_WITHIN)

    def points(self, people: pd.DataFrame) -> Floats:
        """People × directions. Raises ValueError naming features that `people` lacks."""
        missing = [name for name in self.features if name not in people]
        if missing:
            raise ValueError(
                f"features are missing that the personas were found in: {', '.join(missing)}; "
                "restore them or discover the personas anew"
            )
        points = (self.scaled(people) - self.mean) @ self.directions.T
        return points + _jitter(people["person_id"], points.shape[1])


def learn_space(people: pd.DataFrame) -> Space | None:
    """The space of those `BEHAVIOUR` features that vary; None when fewer than two do."""
    names = [name for name in BEHAVIOUR if name in people]
    values = raw(people, names)
    varies = np.array([_varies(column) for column in values.T], dtype=bool)
    names = [name for name, is_varied in zip(names, varies, strict=True) if is_varied]
    if len(names) < 2:
        return None
    values = values[:, varies]
    is_skewed = np.abs(skew(values, axis=0, nan_policy="omit")) > SKEW_FROM
    values = _unskewed(values, np.asarray(is_skewed, dtype=bool))
    centre = np.nanmedian(values, axis=0)
    low, high = np.nanpercentile(values, [25, 75], axis=0)
    spread = np.nanstd(values, axis=0)
    # Half the standard deviation at least: where most are zero the quartiles see no spread.
    scale = np.maximum((high - low) / 1.349, 0.5 * spread)
    filled = np.where(np.isnan(values), centre, values)
    scaled = np.clip((filled - centre) / scale, -SCALED_WITHIN, SCALED_WITHIN)
    axes = PCA(svd_solver="full").fit(scaled)
    enough = int(np.searchsorted(np.cumsum(axes.explained_variance_ratio_), VARIANCE_SHARE)) + 1
    directions = axes.components_[: min(enough, DIRECTIONS_AT_MOST)]
    return Space(
        tuple(names), np.asarray(is_skewed, bool), centre, centre, scale, axes.mean_, directions
    )


def raw(people: pd.DataFrame, names: tuple[str, ...] | list[str]) -> Floats:
    """People × features as numbers; nulls of counts, shares and amounts are 0, of days nan."""
    values = np.empty((len(people), len(names)))
    for position, name in enumerate(names):
        column = pd.to_numeric(people[name], errors="coerce")
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        is_duration = name.startswith("days_")
        values[:, position] = numbers if is_duration else np.nan_to_num(numbers)
    return values


def _varies(column: Floats) -> bool:
    known = column[~np.isnan(column)]
    return bool(known.size and np.ptp(known) > 0)


def _unskewed(values: Floats, is_skewed: NDArray[np.bool_]) -> Floats:
    return np.where(is_skewed, np.sign(values) * np.log1p(np.abs(values)), values)


def _jitter(persons: pd.Series, width: int) -> Floats:
    ids = persons.to_numpy(dtype=object)
    columns = [pd.util.hash_array(ids, hash_key=f"{axis:016d}") for axis in range(width)]
    return JITTER * (2 * np.column_stack(columns).astype(np.float64) / 2**64 - 1)
