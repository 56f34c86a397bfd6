"""What the shop sells and what money is worth: catalogue, prices per currency, exchange rates.

Belongs here: products and rates as files and as arrays. Does not belong here: who buys what
(`orders`).
"""

import math
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np

from sandbox.market import zones
from sandbox.market.draws import generator
from sandbox.market.population import CATEGORIES

PER_CATEGORY: Final = 15
NOUNS: Final = {
    "kitchen": ("teapot", "bowl", "cutting board", "jar", "apron"),
    "garden": ("planter", "bird house", "lantern", "watering can", "trellis"),
    "candles": ("beeswax candle", "tealight set", "candlestick", "votive", "incense"),
    "stationery": ("notebook", "card set", "ribbon", "wrapping paper", "pen tray"),
    "toys": ("wooden train", "puzzle", "bear", "kite", "doll house"),
    "textiles": ("throw", "cushion", "towel", "runner", "blanket"),
    "lighting": ("string lights", "table lamp", "night light", "shade", "pendant"),
    "jewellery": ("bracelet", "ring dish", "necklace", "brooch", "earrings"),
}
LOOKS: Final = ("plain", "blue", "vintage")
MEDIAN_PRICES: Final = (16.0, 21.0, 11.0, 7.0, 19.0, 26.0, 31.0, 14.0)


@dataclass(frozen=True)
class Catalogue:
    """The shop's products; `prices` in euros, `popularity` sums to one in a category."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    categories: tuple[str, ...]
    prices: np.ndarray
    popularity: np.ndarray

    def price(self, product: int, currency: str) -> float:
        """Return the shelf price of a product in a currency."""
        return round(float(self.prices[product]) / zones.EURO_RATES[currency], 2)

    def url(self, product: int) -> str:
        """Return the path of a product's page."""
        return f"/products/{self.ids[product].lower()}"


@lru_cache(maxsize=4)
def catalogue(seed: int) -> Catalogue:
    """Return the shop's catalogue, the same for a seed."""
    rng = generator(seed, "goods", 0)
    ids, names, categories = [], [], []
    for position, category in enumerate(CATEGORIES):
        for item in range(PER_CATEGORY):
            ids.append(f"P{position + 1}{item:03d}")
            names.append(f"{LOOKS[item // 5].capitalize()} {NOUNS[category][item % 5]}")
            categories.append(category)
    medians = np.repeat(MEDIAN_PRICES, PER_CATEGORY)
    prices = np.round(medians * np.exp(rng.normal(0, 0.5, len(ids)))) - 0.05
    shares = 1.0 / np.arange(1, PER_CATEGORY + 1) ** 0.8
    popularity = np.stack([rng.permutation(shares / shares.sum()) for _ in CATEGORIES])
    return Catalogue(
        tuple(ids), tuple(names), tuple(categories), np.maximum(prices, 1.95), popularity
    )


def product_rows(seed: int, currency: str) -> list[dict[str, Any]]:
    """Return the catalogue as rows of a product feed."""
    shop = catalogue(seed)
    rng = generator(seed, "goods", 1)
    in_stock = rng.random(len(shop.ids)) < 0.95
    return [
        {
            "product_id": shop.ids[index],
            "name": shop.names[index],
            "category": shop.categories[index],
            "price_amount": f"{shop.price(index, currency):.2f}",
            "currency": currency,
            "url": f"https://shop.example.com{shop.url(index)}",
            "image_url": f"https://img.example.com/{shop.ids[index].lower()}.jpg",
            "in_stock": "true" if in_stock[index] else "false",
            "description": f"{shop.names[index]} from our {shop.categories[index]} shelf.",
        }
        for index in range(len(shop.ids))
    ]


def euro_rate(seed: int, currency: str, day: date) -> float:
    """Return what one unit of a currency is worth in euros on a day: slow waves around a mean."""
    if currency == "EUR":
        return 1.0
    phase = (seed % 97) + 13 * zones.CURRENCIES.index(currency)
    ordinal = day.toordinal()
    wave = sum(
        size * math.sin(2 * math.pi * (ordinal + phase * 7) / period)
        for size, period in ((0.02, 233.0), (0.008, 61.0), (0.003, 9.0))
    )
    return zones.EURO_RATES[currency] * math.exp(wave)


def rate_rows(seed: int, currency: str, first: date, last: date) -> list[dict[str, Any]]:
    """Return rates into the workspace's currency for each day of [first, last]."""
    rows = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        home = euro_rate(seed, currency, day)
        for name in zones.CURRENCIES:
            rate = euro_rate(seed, name, day) / home
            rows.append({"date": day, "currency": name, "rate_to_workspace": f"{rate:.6f}"})
    return rows
