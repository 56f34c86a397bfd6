"""Phone numbers as E.164.

Belongs here: one number at a time, remembered, since a file repeats its people.
Keep out: which columns hold phones.
"""

from functools import lru_cache

import phonenumbers

# Some plans, Germany's among them, allow subscriber numbers of two digits; with its country code
# no number in use is shorter than this.
SHORTEST_DIGITS = 7


@lru_cache(maxsize=200_000)
def e164(given: str, region: str) -> str | None:
    """The number in E.164, read as dialled from `region` (ISO 3166-1); None when it is none.

    Possible rather than valid: numbering plans grow faster than their
    tables, and a real number refused is a person not reached.
    """
    try:
        number = phonenumbers.parse(given, region)
    except phonenumbers.NumberParseException:
        return None
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    spelled = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return spelled if len(spelled) > SHORTEST_DIGITS else None
