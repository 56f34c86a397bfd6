"""The ad market: campaigns, what a day's budget buys, whom it truly brings.

Belongs here: spend, clicks and the true increment of advertising. Does not belong here: what the
people brought do afterwards (`life`).

Diminishing returns: clicks(spend) = (ceiling / price) * (1 - exp(-spend / ceiling)).
Brand search and retargeting mostly meet people who were coming anyway, and claim them.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np


@dataclass(frozen=True)
class Campaign:
    """One campaign; budgets and ceilings are euros a day in a market of 5,000 people.

    Shares split the clicks: `joins` become newcomers who sign up sooner or later, `intercepts`
    were coming anyway, `revives` are extra visits of people known already, the rest look once.
    """

    platform: str
    campaign_id: str
    name: str
    channel: str
    budget: float
    ceiling: float
    click_price: float
    joins: float
    intercepts: float
    revives: float
    click_id: str

    @property
    def account_id(self) -> str:
        """Return the ad account that pays."""
        return {"meta": "act_201", "google": "901-555-0142"}[self.platform]


CAMPAIGNS: Final = (
    Campaign("meta", "meta_prospecting", "Prospecting broad", "paid_social",
             34.0, 60.0, 1.35, 0.028, 0.02, 0.02, "fbclid"),
    Campaign("meta", "meta_retargeting", "Retargeting 30 days", "paid_social",
             16.0, 14.0, 0.85, 0.004, 0.48, 0.22, "fbclid"),
    Campaign("meta", "meta_lookalike", "Lookalike buyers", "paid_social",
             26.0, 45.0, 1.60, 0.048, 0.02, 0.02, "fbclid"),
    Campaign("google", "google_brand", "Brand search", "paid_search",
             14.0, 18.0, 0.55, 0.008, 0.82, 0.02, "gclid"),
    Campaign("google", "google_generic", "Generic search", "paid_search",
             38.0, 90.0, 2.10, 0.064, 0.06, 0.02, "gclid"),
    Campaign("google", "google_shopping", "Shopping feed", "paid_search",
             30.0, 70.0, 1.20, 0.045, 0.10, 0.03, "gclid"),
)  # fmt: skip
Budgets = dict[str, float]


@dataclass(frozen=True)
class AdDay:
    """What the day's money bought, one entry a campaign in the order of `CAMPAIGNS`."""

    spend: np.ndarray
    impressions: np.ndarray
    clicks: np.ndarray
    joins: np.ndarray
    intercepts: np.ndarray
    revives: np.ndarray

    @property
    def lookers(self) -> np.ndarray:
        """Return the clicks of people who look once and never sign up."""
        known = self.joins + self.intercepts + self.revives
        return np.maximum(self.clicks - known, 0)


def starting_budgets(scale: float) -> Budgets:
    """Return the daily budgets before anybody changes them; scale = people / 5,000."""
    return {campaign.campaign_id: round(campaign.budget * scale, 2) for campaign in CAMPAIGNS}


def true_clicks(campaign: Campaign, spend: float, scale: float) -> float:
    """Return the expected clicks of one day's spend in euros."""
    ceiling = campaign.ceiling * scale
    return ceiling / campaign.click_price * (1.0 - float(np.exp(-spend / ceiling)))


def run_day(rng: np.random.Generator, budgets: Budgets, scale: float, season: float) -> AdDay:
    """Spend a day's budgets (euros) and draw what they bring."""
    count = len(CAMPAIGNS)
    pacing = np.clip(rng.normal(0.985, 0.03, count), 0.85, 1.04)
    budget = np.array([budgets[campaign.campaign_id] for campaign in CAMPAIGNS])
    spend = np.round(budget * pacing, 2)
    mood = np.exp(0.16 * rng.standard_normal(count)) * season**0.5
    expected = np.array(
        [true_clicks(campaign, float(money), scale) for campaign, money in zip(
            CAMPAIGNS, spend, strict=True)]
    )  # fmt: skip
    clicks = rng.poisson(expected * mood)
    shares = np.array([[c.joins, c.intercepts, c.revives] for c in CAMPAIGNS])
    joins, intercepts, revives = rng.binomial(clicks[:, None], shares).T
    through_rate = np.exp(rng.normal(np.log(0.012), 0.12, count))
    impressions = np.round(clicks / through_rate + rng.poisson(20, count))
    return AdDay(spend, impressions.astype(np.int64), clicks, joins, intercepts, revives)


def budgets_in_force(
    path: Path, before: Budgets, start: datetime, end: datetime, euros: float = 1.0
) -> tuple[Budgets, Budgets]:
    """Return (amounts effective over the window, amounts in force at its end).

    A budget changed inside the window counts from its `since` on. The file is what the ad
    platforms' stand-ins write: {platform: {campaign_id: {"amount": x, "since": t}}}, amounts in
    the workspace's currency, one unit of which is worth `euros`.
    """
    after = dict(before)
    effective = dict(before)
    if not path.exists():
        return effective, after
    published: dict[str, Any] = json.loads(path.read_text())
    for campaign in CAMPAIGNS:
        entry = published.get(campaign.platform, {}).get(campaign.campaign_id)
        if entry is None or datetime.fromisoformat(entry["since"]) > end:
            continue
        name, amount = campaign.campaign_id, float(entry["amount"]) * euros
        share = (end - max(datetime.fromisoformat(entry["since"]), start)) / (end - start)
        after[name] = amount
        effective[name] = before[name] * (1 - share) + amount * share
    return effective, after
