"""The true effect of a message: arm x person x hour -> click, purchase, weariness.

Belongs here: the law of response that the loop tries to learn, used by the market to answer and
by the scorecard as the oracle. Does not belong here: when and how an answer arrives
(`reactions`).

An arm is `<channel>_<offer>_<theme>`; an offer is `none` or a percentage. With price
sensitivity p, forgetfulness f, novelty n, sociability s (all latent):

    logit click = program + channel taste + 1.9 * p * sqrt(offer / 10) - 0.5 * (1 - p) [offer > 0]
                  + theme(p, f, n, s) - 0.9 [lapsed] - fatigue,
    P(click at hour h) = P(click) * (0.45 + 0.55 * taste(h)), clipped.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from sandbox.market.population import People

PROGRAM_CLICK: Final = {"welcome": -1.7, "abandoned_cart": -1.8, "win_back": -2.7}
PROGRAM_BUY: Final = {"welcome": -1.9, "abandoned_cart": -0.9, "win_back": -1.8}
OTHER_PROGRAM_CLICK: Final = -2.3
OTHER_PROGRAM_BUY: Final = -1.9
VIEW_THROUGH_SHARE: Final = 0.06
HIGHEST_CLICK: Final = 0.62


@dataclass(frozen=True)
class Arm:
    """An arm's parts; `offer` is a discount in percent, 0 when there is none."""

    channel: str
    offer: float
    theme: str


@lru_cache(maxsize=1024)
def parse_arm(arm: str) -> Arm:
    """Read `<channel>_<offer>_<theme>`.

    Raises:
        ValueError: the name has fewer than three parts.
    """
    parts = arm.split("_", 2)
    if len(parts) < 3:
        raise ValueError(f"arm {arm!r} is not <channel>_<offer>_<theme>")
    channel, offer, theme = parts
    digits = "".join(sign for sign in offer if sign.isdigit())
    # Free shipping is worth about seven per cent of a basket.
    return Arm(channel, float(digits) if digits else (0.0 if offer == "none" else 7.0), theme)


def _theme_effect(theme: str, traits: Mapping[str, np.ndarray]) -> np.ndarray:
    price, forgets = traits["price_sensitivity"], traits["forgetfulness"]
    novelty, social = traits["novelty"], traits["sociability"]
    laws = {
        "reminder": 1.1 * forgets - 0.25,
        "discount": 0.7 * price - 0.25,
        "help": 0.6 * (1 - price) + 0.4 * forgets - 0.45,
        "greeting": 0.7 * (1 - price) + 0.3 * social - 0.4,
        "bestsellers": 1.5 * social - 0.6,
        "news": 1.9 * novelty - 0.35,
    }
    if theme in laws:
        return laws[theme]
    # A theme the market never heard of still appeals to somebody, always to the same people.
    blend = np.frombuffer(hashlib.blake2b(theme.encode(), digest_size=4).digest(), np.uint8) / 255
    return blend[0] * novelty + blend[1] * social + 0.6 * blend[2] * forgets - 0.45


def click_probability(
    traits: Mapping[str, np.ndarray], program: str, arm: str, weary: bool = False
) -> np.ndarray:
    """Return P(click | delivered) per person at an average hour, shape (n,).

    `weary` takes the person's present fatigue into account; the oracle leaves it out.
    """
    parts = parse_arm(arm)
    price = traits["price_sensitivity"]
    taste = traits["sms_taste"] if parts.channel == "sms" else traits["email_taste"]
    logit = PROGRAM_CLICK.get(program, OTHER_PROGRAM_CLICK) + 2.6 * (taste - 0.5)
    logit = logit + (0.25 if parts.channel == "sms" else 0.0)
    if parts.offer > 0:
        logit = logit + 1.9 * price * np.sqrt(parts.offer / 10.0) - 0.5 * (1 - price)
    logit = logit + _theme_effect(parts.theme, traits) - 0.9 * traits["lapsed"]
    if weary:
        logit = logit - 0.3 * traits["fatigue"]
    return np.minimum(1.0 / (1.0 + np.exp(-logit)), HIGHEST_CLICK)


def purchase_probability(traits: Mapping[str, np.ndarray], program: str, arm: str) -> np.ndarray:
    """Return P(purchase caused | clicked) per person, shape (n,)."""
    offer = parse_arm(arm).offer
    logit = PROGRAM_BUY.get(program, OTHER_PROGRAM_BUY) - 1.5 * traits["never_buys"]
    logit = logit + 1.4 * traits["price_sensitivity"] * offer / 10.0
    return 1.0 / (1.0 + np.exp(-logit))


def conversion_probability(traits: Mapping[str, np.ndarray], program: str, arm: str) -> np.ndarray:
    """Return P(purchase caused | delivered): after a click, or rarely without one."""
    clicks = click_probability(traits, program, arm)
    buys = purchase_probability(traits, program, arm)
    return clicks * buys + (1 - clicks) * buys * VIEW_THROUGH_SHARE


def hour_factor(taste: np.ndarray) -> np.ndarray:
    """Return what the hour of sending does to a click: 1 at an average hour of the person."""
    return np.clip(0.45 + 0.55 * taste, 0.45, 2.2)


def traits_of(people: People, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the latent traits that responses hang on, for some rows."""
    names = (
        "price_sensitivity",
        "forgetfulness",
        "novelty",
        "sociability",
        "email_taste",
        "sms_taste",
        "never_buys",
        "lapsed",
        "fatigue",
    )
    return {name: people[name][rows].astype(float) for name in names}
