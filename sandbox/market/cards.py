"""What identifies people: names, e-mail addresses, phones, user ids, CRM cards with their faults.

Belongs here: the strings a source would know a person by, and the ways in which they lie (typos,
shared mailboxes, recycled phone numbers, double cards). Does not belong here: when they become
visible (`sessions`, `crm`), values that are nobody's (`faults`). All names and addresses are
invented; domains are reserved ones.
"""

from datetime import date, timedelta
from typing import Any, Final

import numpy as np

from sandbox.market import faults, zones
from sandbox.market.draws import generator, token
from sandbox.market.population import People

Card = dict[str, Any]

FIRST_NAMES: Final = (
    "Ada", "Amir", "Anna", "Ben", "Bianca", "Carla", "Chloé", "Dario", "Dora", "Elif", "Emil",
    "Erik", "Fatima", "Finn", "Freya", "Greta", "Hana", "Hugo", "Ida", "Ivan", "Jamal", "Jana",
    "Jonas", "Kai", "Karin", "Lars", "Leila", "Lina", "Luca", "Maja", "Marek", "Mia", "Milan",
    "Nadia", "Nils", "Nora", "Olga", "Oskar", "Paula", "Pia", "Quentin", "Rosa", "Samir", "Sofia",
    "Tara", "Theo", "Uma", "Vera", "Wanda", "Yusuf", "Zoë",
)  # fmt: skip
LAST_NAMES: Final = (
    "Abel", "Ahmed", "Baker", "Bauer", "Becker", "Brandt", "Carter", "Dubois", "Dunn", "Ellis",
    "Faure", "Fischer", "Gallo", "Garnier", "Green", "Haas", "Hill", "Ito", "Jansen", "Keller",
    "Khan", "Klein", "Lang", "Leroy", "Lopez", "Marsh", "Meier", "Mills", "Moreau", "Neumann",
    "Novak", "O'Brien", "Okafor", "Olsen", "Park", "Petit", "Pohl", "Quinn", "Reed", "Richter",
    "Roux", "Sato", "Schmidt", "Silva", "Simon", "Stone", "Torres", "Vogel", "Walsh", "Weber",
    "Wood", "Young", "Zeller",
)  # fmt: skip
MAIL_DOMAINS: Final = (
    "example.com", "example.org", "example.net", "post.example.com", "mail.example.org",
    "inbox.example.net", "web.example.com", "fastpost.example.org",
)  # fmt: skip
PLAIN: Final = str.maketrans("éëüöäßñ", "eeuoasn", "' ")


def issue(seed: int, first_row: int, people: People, settled: list[Card]) -> list[Card]:
    """Return the cards of newcomers in the order of their rows.

    Args:
        seed: the market's seed.
        first_row: row number of the first newcomer in the population.
        people: the newcomers' arrays.
        settled: cards of everybody before them, for shared mailboxes and recycled numbers.
    """
    count = len(people["born_day"])
    if count == 0:
        return []
    rng = generator(seed, "cards", int(first_row))
    chances = rng.random((count, 8))
    picks = rng.integers(0, 2**31, (count, 8))
    slips, spread = rng.random((count, 4)), rng.integers(0, 2**31, (count, 2))
    cards: list[Card] = []
    for index in range(count):
        row = first_row + index
        place = zones.PLACES[int(people["place"][index])]
        card = _card(seed, row, place, chances[index], picks[index])
        card = faults.misfiled(card, row, slips[index], spread[index])
        partner = int(people["household"][index])
        if partner >= 0:
            home = settled[partner] if partner < first_row else cards[partner - first_row]
            card = _moved_in(card, home, shares_mail=chances[index, 0] < 0.45)
        if row and chances[index, 1] < 0.02:
            former = int(picks[index, 0]) % row
            before = settled[former] if former < first_row else cards[former - first_row]
            # Numbers are given out again in their own country.
            if before["country"] == card["country"]:
                card["phone"] = before["phone"]
        cards.append(_filed(card, chances[index], picks[index], slips[index]))
    return cards


def _card(seed: int, row: int, place: zones.Place, chances: np.ndarray, picks: np.ndarray) -> Card:
    first = FIRST_NAMES[picks[1] % len(FIRST_NAMES)]
    last = LAST_NAMES[picks[2] % len(LAST_NAMES)]
    plain = f"{first}.{last}".lower().translate(PLAIN)
    local = (f"{plain}{row}", f"{plain[0]}{plain.split('.')[1]}.{row}", f"{plain}.{row % 97}{row}")
    domain = MAIL_DOMAINS[picks[4] % len(MAIL_DOMAINS)]
    digits = picks[5] % 10**place.phone_digits
    birth = date(1948, 1, 1) + timedelta(days=int(picks[6] % 20_000))
    return {
        "user_id": f"u_{token(seed, 'user', row, length=12)}",
        "contact_id": f"C{100_000 + row}",
        "first_name": first,
        "last_name": last,
        "email": f"{local[picks[3] % 3]}@{domain}",
        "email_alt": f"{plain}.home{row}@example.net" if chances[2] < 0.10 else None,
        "phone": f"{place.phone_prefix}{digits:0{place.phone_digits}d}"
        if chances[3] < 0.72
        else None,
        "city": place.cities[picks[7] % len(place.cities)],
        "region": place.region,
        "country": place.country,
        "postal_code": str(10_000 + picks[6] % 89_999),
        "birth_date": birth.isoformat() if chances[4] < 0.6 else None,
        "time_zone": place.zone,
        "locale": place.locale,
    }


def _moved_in(card: Card, partner: Card, shares_mail: bool) -> Card:
    home = {name: partner[name] for name in ("last_name", "city", "region", "postal_code")}
    return card | home | ({"email": partner["email"]} if shares_mail else {})


def _filed(card: Card, chances: np.ndarray, picks: np.ndarray, slips: np.ndarray) -> Card:
    """Return the card as forms and the CRM have it: slips in some, 2 % twice, 6 % late.

    A late card may carry the other address, and so join what had looked like two people.
    """
    crm_email, crm_phone = card["email"], card["phone"]
    late_days = faults.late_card_days(slips, bool(card["email_alt"]))
    if late_days and card["email_alt"]:
        crm_email = card["email_alt"]
    elif chances[5] < 0.02:
        crm_email = faults.mistyped(crm_email, int(picks[3]))
    if crm_phone and chances[6] < 0.015:
        crm_phone = crm_phone[:-2] + crm_phone[-1] + crm_phone[-2]
    return card | {
        "crm_email": crm_email,
        "crm_phone": crm_phone,
        "form_email": faults.mistyped(card["email"], int(picks[6])) if slips[2] < 0.03 else None,
        "card_days": late_days,
        "second_contact_id": f"{card['contact_id']}-2" if chances[7] < 0.02 else None,
    }


def as_written(address: str, pick: int) -> str:
    """Return an address in the careless ways people and systems write it."""
    return (address, address, address, address.capitalize(), f" {address} ")[pick % 5]
