"""What a persona is called and how it is described, by template from its profile.

Belongs here: words and the choice of what is distinctive. Keep out: how personas are found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STANDS_OUT_FROM = 0.35
"""Robust standard deviations between the persona's mean and everybody's."""
BUYERS_SHARE = 0.5
BUYING = frozenset({"orders", "basket", "range", "discount", "refund"})
"""Topics that say nothing about people who do not buy."""


@dataclass(frozen=True)
class Trait:
    """A feature in words; traits of one `topic` say the same thing twice."""

    topic: str
    label: str
    high: str
    low: str


TRAITS: Mapping[str, Trait] = {
    "days_since_first_seen": Trait("age", "days since first seen", "long-standing", "new"),
    "days_since_last_seen": Trait("activity", "days since last seen", "dormant", "active"),
    "order_count": Trait("orders", "orders", "frequent", "rarely ordering"),
    "orders_90d_count": Trait("orders", "orders in 90 days", "currently ordering", "not ordering"),
    "average_order_amount": Trait("basket", "average order", "big-basket", "small-basket"),
    "net_revenue_365d_amount": Trait("orders", "revenue in 365 days", "high-spending", "thrifty"),
    "distinct_products_count": Trait("range", "distinct products", "wide-ranging", "single-minded"),
    "discount_share": Trait("discount", "share bought at a discount", "deal-seeking", "full-price"),
    "refund_share": Trait("refund", "share refunded", "often returning", "never returning"),
    "sessions_90d_count": Trait("activity", "visits in 90 days", "often visiting", "rarely seen"),
    "products_viewed_30d_count": Trait(
        "browsing", "products viewed in 30 days", "browsing", "not browsing"
    ),
    "products_added_30d_count": Trait(
        "browsing", "products added in 30 days", "cart-filling", "not browsing"
    ),
    "emails_opened_90d_count": Trait(
        "mail", "mails opened in 90 days", "mail-reading", "mail-ignoring"
    ),
    "emails_clicked_90d_count": Trait(
        "mail", "mails clicked in 90 days", "mail-clicking", "mail-ignoring"
    ),
    "support_tickets_90d_count": Trait(
        "support", "support tickets in 90 days", "help-seeking", "self-reliant"
    ),
}


def distinctive(contrasts: Mapping[str, float], buyers_share: float) -> list[str]:
    """Features in which a persona stands out, strongest first, one of each topic."""
    hidden = BUYING if buyers_share < BUYERS_SHARE else frozenset()
    ranked = sorted(contrasts, key=lambda name: (-abs(contrasts[name]), name))
    chosen: dict[str, str] = {}
    for name in ranked:
        if abs(contrasts[name]) >= STANDS_OUT_FROM and TRAITS[name].topic not in hidden:
            chosen.setdefault(TRAITS[name].topic, name)
    return list(chosen.values())


def name_of(contrasts: Mapping[str, float], buyers_share: float, taken: Sequence[str]) -> str:
    """A name that nobody in `taken` has: two traits, more when needed, at last a number."""
    noun = "customers" if buyers_share >= BUYERS_SHARE else "visitors"
    words = [
        TRAITS[name].high if contrasts[name] > 0 else TRAITS[name].low
        for name in distinctive(contrasts, buyers_share)
    ]
    for count in range(min(2, len(words)), len(words) + 1):
        name = f"{', '.join(words[:count])} {noun}" if count else f"typical {noun}"
        name = name[0].upper() + name[1:]
        if name not in taken:
            return name
    number = 2
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"


def description_of(profile: Mapping[str, Any], size: int, share: float) -> str:
    """One sentence of figures: how many, and by what they stand out from everybody."""
    figures = [
        f"{TRAITS[name].label} {_figure(values['mean'])} (everybody {_figure(values['overall'])})"
        for name, values in profile["features"].items()
        if name in profile["distinctive"]
    ]
    stands_out = "; ".join(figures) if figures else "close to everybody in all features"
    return f"{size:,} persons, {share:.0%} of those active: {stands_out}."


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 20 else f"{value:.2g}"
