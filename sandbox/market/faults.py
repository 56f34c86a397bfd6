"""How identifiers lie: values that name nobody, things that several people use, slips, late cards.

Belongs here: what is planted to mislead whoever joins identifiers into persons, and the values
that name nobody. Does not belong here: when it becomes visible (`sessions`, `crm`).
"""

from typing import Any, Final

import numpy as np

from sandbox.market.population import LOOKER

Card = dict[str, Any]

EPOCHS: Final = 4096
# Codes above everybody's own cookies and devices: tablets in shops, then what names nobody.
SHOP_COOKIE: Final = 9 * LOOKER * EPOCHS
ZERO_COOKIE: Final = 10 * LOOKER * EPOCHS
SHOP_DEVICE: Final = 9 * LOOKER * 4
ZERO_DEVICE: Final = 10 * LOOKER * 4
NULL_USER: Final = 10 * LOOKER
SHOPS_PER_PLACE: Final = 2
ZEROS: Final = "00000000-0000-0000-0000-000000000000"

TEST_MAILS: Final = ("test@example.com", "test@example.org", "noreply@example.com")
# What people type who do not want to be called, as their countries' numbers are written.
ZERO_PHONES: Final = {
    "GB": "+44000000000", "DE": "+49000000000", "FR": "+33000000000",
    "US": "+10000000000", "AU": "+61000000000",
}  # fmt: skip
ROLES: Final = ("info", "office", "sales")

SHOP_SIGN_UPS: Final = 0.012
SHOP_VISITS: Final = 0.015
TRACKER_FAULTS: Final = 0.004


def names_nobody(identifier_type: str, value: str) -> bool:
    """Say whether a value is a placeholder or the mailbox of a role, which is nobody's own."""
    if identifier_type == "email":
        return value in TEST_MAILS or value.split("@")[0] in ROLES
    if identifier_type == "phone":
        return value in ZERO_PHONES.values()
    return value in (ZEROS, "null")


def misfiled(card: Card, row: int, chances: np.ndarray, picks: np.ndarray) -> Card:
    """Return a card with the faults of its own addresses.

    Args:
        card: as issued.
        row: number of the person, to spread mailboxes of firms.
        chances: four uniforms. picks: two integers.
    """
    if chances[0] < 0.0015:
        card = card | {"email": TEST_MAILS[picks[0] % len(TEST_MAILS)]}
    elif chances[0] < 0.0075:
        # About three people write from the mailbox of each firm.
        firm = picks[0] % (1 + row // 500)
        card = card | {"email": f"{ROLES[picks[1] % len(ROLES)]}@firm{firm}.example.org"}
    if chances[1] < 0.004:
        card = card | {"phone": ZERO_PHONES[card["country"]]}
    return card


def late_card_days(chances: np.ndarray, has_other_mail: bool) -> int:
    """Return how many days after the sign-up the CRM files the card; mostly none."""
    share = 0.25 if has_other_mail else 0.04
    return 14 + int(chances[3] / share * 36) if chances[3] < share else 0


def mistyped(email: str, pick: int) -> str:
    """Return an address with two letters swapped, or one doubled."""
    local, domain = email.split("@")
    position = 1 + pick % max(len(local) - 2, 1)
    swapped = local[:position] + local[position + 1] + local[position] + local[position + 2 :]
    doubled = local[:position] + local[position] + local[position:]
    return f"{swapped if swapped != local else doubled}@{domain}"


def in_shops(rng: np.random.Generator, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cookies and devices that visits to a shop's own tablet would show."""
    shop = place.astype(np.int64) * SHOPS_PER_PLACE + rng.integers(0, SHOPS_PER_PLACE, len(place))
    return SHOP_COOKIE + shop, SHOP_DEVICE + shop
