"""Looking for people's addresses where none may be.

Belongs here: which addresses a market has, and finding them in rows, events and files.
Keep out: where they may be (the tests say so).
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote

import pyarrow.parquet as pq

from tests.loop.playing import Home

EMAIL = re.compile(r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)+")
# Ten digits or more, as people write numbers: +44 7700 900123, (07700) 900-123.
PHONE = re.compile(r"\+?\(?\d(?:[ ()./-]{0,2}\d){9,14}")
# The end of a number is the same with and without the country's code.
PHONE_TAIL = 9


def addresses(home: Home) -> set[str]:
    """E-mail addresses in lower case and the ends of phone numbers, of everybody there is."""
    found = set()
    for path in sorted((home.truth / "identifiers").glob("*.parquet")):
        table = pq.read_table(path, columns=["identifier_type", "identifier_value"])
        for kind, value in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if kind == "email":
                found.add(value.strip().lower())
            elif kind == "phone":
                found.add(_digits(value)[-PHONE_TAIL:])
    return found


def found_in(texts: Iterable[str], known: set[str]) -> set[str]:
    """The known addresses that occur in the texts, plain or as a URL spells them."""
    seen: set[str] = set()
    for text in texts:
        plain = unquote(text)
        seen |= {match.lower() for match in EMAIL.findall(plain)} & known
        seen |= {_digits(match)[-PHONE_TAIL:] for match in PHONE.findall(plain)} & known
    return seen


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())
