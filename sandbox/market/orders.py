"""Baskets: what is looked at, added and bought in a visit, and what becomes of an order.

Belongs here: products and amounts. Does not belong here: whether a visit buys (`life`).
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from sandbox.market import goods, zones
from sandbox.market.draws import choices, generator
from sandbox.market.population import CATEGORIES, favourite_categories
from sandbox.market.world import (
    BUY,
    CHORE_TYPES,
    LOOKER,
    REFUND,
    TICKET,
    Columns,
    World,
    columns,
    rows_of,
    stacked,
)

SHELF: Final = 6  # products a visit may touch
BASKET: Final = 4  # products an order may hold
SHIPPING_EUROS: Final = 4.95
FREE_SHIPPING_EUROS: Final = 50.0


@dataclass
class Orders:
    """Orders of a day: properties as JSON text, and one truth row each, in visit order."""

    visits: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)


def shelves(world: World, day: int, visits: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Draw the products of each visit (n, 6) by taste, and the quantities if bought."""
    rng = generator(world.seed, "orders", day)
    shop = goods.catalogue(world.seed)
    count = len(visits["at"])
    known = visits["visitor"] < LOOKER
    category = rng.integers(0, len(CATEGORIES), (count, SHELF))
    rows = visits["visitor"][known]
    category[known] = favourite_categories(rng, world.people, rows, SHELF)
    within = choices(rng, shop.popularity[category.ravel()]).reshape(count, SHELF)
    product = category * goods.PER_CATEGORY + within
    wish = np.full(count, 30.0)
    wish[known] = world.people["basket"][rows] * np.exp(0.35 * rng.standard_normal(len(rows)))
    raw = wish[:, None] / 2.0 / shop.prices[product]
    return product, np.clip(np.round(raw), 1, 12).astype(np.int64)


def place_orders(
    world: World, day: int, visits: Columns, product: np.ndarray, quantity: np.ndarray,
    items: np.ndarray, placed_at: np.ndarray,
) -> Orders:  # fmt: skip
    """Turn the day's buying visits into orders and plan their refunds and tickets."""
    rng = generator(world.seed, "orders", day + 50_000)
    orders = Orders()
    buying = np.flatnonzero(visits["intent"] == BUY)
    for visit in buying:
        world.order_number += 1
        place = zones.PLACES[int(visits["place"][visit])]
        lines = _lines(world.seed, product[visit], quantity[visit], int(items[visit]), place)
        discount = float(visits["discount"][visit])
        totals = _totals(lines, discount, place)
        order_id = f"L{world.order_number}"
        coupon = {"coupon": f"SAVE{discount:.0f}"} if discount else {}
        body = {"order_id": order_id, **totals, **coupon, "products": lines}
        orders.visits.append(int(visit))
        orders.texts.append(json.dumps(body)[1:-1])
        orders.facts.append(
            {
                "order_id": order_id,
                "person": int(visits["visitor"][visit]),
                "ordered_at": float(placed_at[visit]),
                "revenue": totals["revenue"],
                "currency": place.currency,
                "source": int(visits["source"][visit]),
                "cause": int(visits["cause"][visit]),
            }
        )
    _plan_chores(world, orders, rng)
    return orders


def _lines(
    seed: int, product: np.ndarray, quantity: np.ndarray, items: int, place: zones.Place
) -> list[dict[str, Any]]:
    shop = goods.catalogue(seed)
    chosen = dict(zip(product[:items].tolist(), quantity[:items].tolist(), strict=True))
    return [
        {
            "product_id": shop.ids[index],
            "name": shop.names[index],
            "category": shop.categories[index],
            "quantity": count,
            "price": shop.price(index, place.currency),
        }
        for index, count in chosen.items()
    ]


def _totals(lines: list[dict[str, Any]], discount: float, place: zones.Place) -> dict[str, Any]:
    goods_value = round(sum(line["price"] * line["quantity"] for line in lines), 2)
    off = round(goods_value * discount / 100.0, 2)
    revenue = round(goods_value - off, 2)
    free = revenue * place.euro_rate >= FREE_SHIPPING_EUROS
    shipping = 0.0 if free else round(SHIPPING_EUROS / place.euro_rate, 2)
    return {
        "revenue": revenue,
        "total": round(revenue + shipping, 2),
        "shipping": shipping,
        "discount": off,
        "currency": place.currency,
    }


def _plan_chores(world: World, orders: Orders, rng: np.random.Generator) -> None:
    """Plan refunds (6 %) and support tickets (4 %, more after a refund) of the orders."""
    count = len(orders.facts)
    chance, delay, part = rng.random((count, 2)), rng.standard_normal((count, 2)), rng.random(count)
    if count == 0:
        return
    at = np.array([fact["ordered_at"] for fact in orders.facts])
    person = np.array([fact["person"] for fact in orders.facts])
    number = np.array([int(fact["order_id"][1:]) for fact in orders.facts])
    revenue = np.array([fact["revenue"] for fact in orders.facts])
    refunded = (chance[:, 0] < 0.06) & (person < LOOKER)
    ticket = (chance[:, 1] < np.where(refunded, 0.3, 0.03)) & (person < LOOKER)
    back = np.round(np.where(part < 0.6, revenue, revenue * (0.2 + 0.5 * part)), 2)
    planned = [world.chores]
    for kind, rows, median in ((REFUND, refunded, 9.0), (TICKET, ticket, 4.0)):
        late = np.exp(0.6 * delay[:, kind]) * median * zones.DAY_SECONDS
        chores = columns(CHORE_TYPES, count, at=np.round(at + late, 3), kind=kind, person=person)
        chores |= {"order": number, "amount": back}
        planned.append(rows_of(chores, rows))
    world.chores = stacked(planned)


def due_chores(world: World, end: float) -> Columns:
    """Take the refunds and tickets due before an instant out of the plan, in order of time.

    A ticket or refund sours the person (`bad_experience`), which drives lapses.
    """
    due = world.chores["at"] < end
    chores = rows_of(world.chores, due)
    world.chores = rows_of(world.chores, ~due)
    sour = np.where(chores["kind"] == TICKET, 1.0, 0.35)
    np.add.at(world.people["bad_experience"], chores["person"], sour)
    return rows_of(chores, np.lexsort((chores["order"], chores["at"])))
