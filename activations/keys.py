"""Derived keys: every id that activations write is a hash of what it stands for.

Belongs here: stable ids, address hashes, draws that are a function of their names.
Keep out: match keys of ad platforms (`match_keys.py`), and any random or clock-made id.
"""

import hashlib

SEPARATOR = "\x1f"


def stable_id(*parts: object) -> str:
    """32 hex characters of SHA-256 over the parts; the same parts give the same id, always."""
    return hashlib.sha256(SEPARATOR.join(str(part) for part in parts).encode()).hexdigest()[:32]


def content_digest(text: str) -> str:
    """The full SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def address_hash(address: str) -> str:
    """How an address is named outside the wall: SHA-256 of its normalised form, in hex.

    The same as `encode(sha256(convert_to(address, 'UTF8')), 'hex')` in Postgres; e-mails come
    lower-case and trimmed, phones in E.164, as ingestion leaves them.
    """
    return hashlib.sha256(address.encode()).hexdigest()


def unit_draw(*parts: object) -> float:
    """A number in [0, 1), uniform over names: the first 53 bits of a hash of the parts."""
    digest = hashlib.sha256(SEPARATOR.join(str(part) for part in parts).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / float(1 << 53)
