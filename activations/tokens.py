"""Tokens: links that prove themselves, and name nobody.

Belongs here: signing the key of a message for its links, and reading such a token back.
Keep out: what a link does (`gateway`), where keys come from (`warehouse.front`).
"""

import base64
import hmac
from collections.abc import Sequence

SIGNATURE_BYTES = 16
PURPOSE = "unsubscribe\x1f"


def unsubscribe_token(link_key: bytes, message_key: str) -> str:
    """`<message key>.<signature>`: HMAC-SHA256 over the key, cut to 128 bits, for a URL.

    The message key is itself a hash (`messages.message_key`), so the token carries no address and
    no person. RFC 8058 section 3.1 asks for a URL that is hard to forge.
    """
    return f"{message_key}.{_signature(link_key, message_key)}"


def read_unsubscribe_token(link_keys: Sequence[bytes], token: str) -> str | None:
    """The message key of a token signed with any of the keys (rotation), or None."""
    message_key, _, given = token.rpartition(".")
    if not message_key or not given.isascii():
        return None
    is_ours = any(hmac.compare_digest(_signature(key, message_key), given) for key in link_keys)
    return message_key if is_ours else None


def _signature(link_key: bytes, message_key: str) -> str:
    text = (PURPOSE + message_key).encode("utf-8", "replace")
    digest = hmac.digest(link_key, text, "sha256")[:SIGNATURE_BYTES]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
