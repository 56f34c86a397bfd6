"""Phone numbers as E.164.

Belongs here: one number at a time, remembered, since a file repeats its people.
Keep out: which columns hold phones.
"""

from functools import lru_cache

import phonenumbers


@lru_cache(maxsize=200_000)
def e164(given: str, region: str) -> str | None:
    """The number in E.164, read as dialled from `region` (ISO 3166-1); None when it is none.

    `is_possible_number` rather than `is_valid_number`: numbering plans grow faster than their
    tables, and a real number refused is a person not reached.
    """
    try:
        number = phonenumbers.parse(given, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
