"""Webhooks signed as the vendors' pages say, in code of our own: the adapters' is what is tested.

Belongs here: one signer per provider. Keep out: assertions.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@dataclass(frozen=True)
class Signer:
    """What checks a signature (`secret`) and what makes one: headers of (url, body, time)."""

    secret: str
    headers: Callable[[str, bytes, datetime], dict[str, str]]


def _mac(secret: bytes, signed: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret, signed, algorithm).digest()


def _epoch(at: datetime) -> str:
    return str(int(at.timestamp()))


def sendgrid() -> Signer:
    """ECDSA P-256 over timestamp and body."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def headers(_url: str, raw: bytes, at: datetime) -> dict[str, str]:
        signature = key.sign(_epoch(at).encode() + raw, ec.ECDSA(SHA256()))
        return {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": _epoch(at),
            "Content-Type": "application/json",
        }

    return Signer(base64.b64encode(public).decode(), headers)


def twilio(token: str = "12345") -> Signer:  # noqa: S107 - no account's
    """HMAC-SHA1 over the URL and the sorted form."""

    def headers(url: str, raw: bytes, _at: datetime) -> dict[str, str]:
        form = sorted(parse_qsl(raw.decode(), keep_blank_values=True))
        signed = url + "".join(name + value for name, value in form)
        return {
            "X-Twilio-Signature": base64.b64encode(
                _mac(token.encode(), signed.encode(), "sha1")
            ).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
        }

    return Signer(token, headers)


def resend(key: bytes = b"a key of 24 random bytes") -> Signer:
    """Svix: HMAC-SHA256 over id, timestamp and body; the id is that of the body's first digits."""

    def headers(_url: str, raw: bytes, at: datetime) -> dict[str, str]:
        name = f"msg_{hashlib.sha256(raw).hexdigest()[:20]}"
        signed = f"{name}.{_epoch(at)}.".encode() + raw
        return {
            "svix-id": name,
            "svix-timestamp": _epoch(at),
            "svix-signature": f"v1,{base64.b64encode(_mac(key, signed)).decode()}",
            "Content-Type": "application/json",
        }

    return Signer(f"whsec_{base64.b64encode(key).decode()}", headers)


def whatsapp(secret: str = "app secret") -> Signer:  # noqa: S107 - no app's
    """X-Hub-Signature-256: HMAC-SHA256 over the body."""

    def headers(_url: str, raw: bytes, _at: datetime) -> dict[str, str]:
        signature = _mac(secret.encode(), raw).hex()
        return {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}

    return Signer(secret, headers)


def webhook(secret: str = "shared secret") -> Signer:  # noqa: S107 - nobody's
    """Our own: HMAC-SHA256 over timestamp and body."""

    def headers(_url: str, raw: bytes, at: datetime) -> dict[str, str]:
        signature = _mac(secret.encode(), _epoch(at).encode() + b"." + raw).hex()
        return {
            "LoopDrive-Timestamp": _epoch(at),
            "LoopDrive-Signature": f"v1={signature}",
            "Content-Type": "application/json",
        }

    return Signer(secret, headers)


SIGNERS: dict[str, Callable[..., Signer]] = {
    "sendgrid": sendgrid, "twilio": twilio, "resend": resend, "whatsapp": whatsapp,
    "webhook": webhook,
}  # fmt: skip
