"""Match keys of the ad platforms: how each one wants an e-mail, a phone, a name or a place.

Belongs here: one table of normalisers per platform, and the hash over their results. No two
platforms normalise alike, so raw values are kept and keys are derived at upload time.
Keep out: which keys a request carries (`platforms/`), consent, and storage of any key.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Platform = Literal["meta", "google", "tiktok", "linkedin"]

SHA256_HEX = re.compile(r"[0-9a-f]{64}")
MD5_HEX = re.compile(r"[0-9a-f]{32}")
GMAIL_DOMAINS = frozenset({"gmail.com", "googlemail.com"})


@dataclass(frozen=True)
class Rule:
    """How one platform reads one key: a normaliser (None = no key), hashed or plain."""

    normalise: Callable[[str], str | None]
    is_hashed: bool = True


def _without_space(value: str) -> str:
    return re.sub(r"\s", "", value)


def _lower(value: str) -> str | None:
    return value.strip().lower().strip() or None


def _email(value: str) -> str | None:
    address = _without_space(value).lower()
    local, at, domain = address.rpartition("@")
    return address if local and at and domain else None


def _google_email(value: str) -> str | None:
    address = _email(value)
    if address is None:
        return None
    local, _, domain = address.rpartition("@")
    if domain in GMAIL_DOMAINS:
        local = local.split("+", 1)[0].replace(".", "")
    return f"{local}@{domain}" if local else None


def _digits(value: str) -> str:
    return re.sub(r"[^0-9]", "", value)


def _meta_phone(value: str) -> str | None:
    return _digits(value).lstrip("0") or None


def _plus_phone(value: str) -> str | None:
    digits = _digits(value).lstrip("0")
    return f"+{digits}" if digits and len(digits) <= 15 else None


def _compact_lower(value: str) -> str | None:
    return _without_space(value.lower()) or None


def _google_name(value: str) -> str | None:
    lowered = _without_space(value.lower())
    letters = (letter for letter in lowered if not unicodedata.category(letter).startswith("P"))
    return "".join(letters) or None


def _meta_place(value: str) -> str | None:
    return re.sub(r"[\s0-9.\-()]", "", value.lower()) or None


def _tiktok_place(value: str) -> str | None:
    return "".join(letter for letter in value.lower() if letter.isalnum()) or None


def _meta_postal_code(value: str) -> str | None:
    return _without_space(value.lower()).split("-", 1)[0] or None


def _trimmed(value: str) -> str | None:
    return value.strip() or None


def _country_lower(value: str) -> str | None:
    code = value.strip()
    return code.lower() if re.fullmatch(r"[A-Za-z]{2}", code) else None


def _country_upper(value: str) -> str | None:
    code = _country_lower(value)
    return code.upper() if code else None


# Sources, as read in the platforms' own code and pages: Meta business SDK normalize.py; Google's
# formatting page for the Data Manager API (gmail dots and +tags go) and user_data.proto (names
# without punctuation; postal code and region plain); TikTok's and LinkedIn's published formatters.
RULES: Mapping[Platform, Mapping[str, Rule]] = {
    "meta": {
        "email": Rule(_email),
        "phone": Rule(_meta_phone),
        "first_name": Rule(_lower),
        "last_name": Rule(_lower),
        "city": Rule(_meta_place),
        "region": Rule(_meta_place),
        "postal_code": Rule(_meta_postal_code),
        "country": Rule(_country_lower),
        "external_id": Rule(_lower),
    },
    "google": {
        "email": Rule(_google_email),
        "phone": Rule(_plus_phone),
        "first_name": Rule(_google_name),
        "last_name": Rule(_google_name),
        "postal_code": Rule(_trimmed, is_hashed=False),
        "country": Rule(_country_upper, is_hashed=False),
    },
    "tiktok": {
        "email": Rule(_email),
        "phone": Rule(_plus_phone),
        "first_name": Rule(_compact_lower),
        "last_name": Rule(_compact_lower),
        "city": Rule(_tiktok_place, is_hashed=False),
        "region": Rule(_tiktok_place, is_hashed=False),
        "postal_code": Rule(_compact_lower),
        "country": Rule(_country_lower, is_hashed=False),
        "external_id": Rule(_lower),
    },
    "linkedin": {
        "email": Rule(_email),
        "first_name": Rule(_trimmed, is_hashed=False),
        "last_name": Rule(_trimmed, is_hashed=False),
        "country": Rule(_country_upper, is_hashed=False),
    },
}


def is_hash(platform: Platform, value: str) -> bool:
    """Tell whether a value is already a hash that the platform takes as it is."""
    lowered = value.strip().lower()
    if SHA256_HEX.fullmatch(lowered):
        return True
    return platform == "meta" and MD5_HEX.fullmatch(lowered) is not None


def normalise(platform: Platform, key: str, value: str | None) -> str | None:
    """Return the value as the platform wants it before hashing; None where nothing is left.

    Idempotent. Raises KeyError for a key that the platform does not know.
    """
    rule = RULES[platform][key]
    if value is None:
        return None
    if rule.is_hashed and is_hash(platform, value):
        return value.strip().lower()
    return rule.normalise(value)


def match_key(platform: Platform, key: str, value: str | None) -> str | None:
    """Return the key as it goes on the wire: SHA-256 of UTF-8 in lower-case hex, or plain.

    None, never the hash of an empty string: that is a valid hash which matches nobody.
    """
    normalised = normalise(platform, key, value)
    if not normalised or not RULES[platform][key].is_hashed or is_hash(platform, normalised):
        return normalised or None
    return hashlib.sha256(normalised.encode()).hexdigest()


def match_keys(platform: Platform, person: Mapping[str, str | None]) -> dict[str, str]:
    """Return every key that the platform knows and the person has, ready for the wire."""
    keys = {key: match_key(platform, key, person.get(key)) for key in RULES[platform]}
    return {key: value for key, value in keys.items() if value}
