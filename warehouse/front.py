"""The gateway's settings: its section of the configuration, its keys, what it lands.

Belongs here: names and derived keys that the gateway and those who make its links share.
Keep out: the environment, which `settings.py` alone reads; HTTP.
"""

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from warehouse.settings import Settings

# Comma-separated lists: of the link keys the first signs, all are honoured.
KEY_LISTS = {
    "write_keys": "LOOPDRIVE_WRITE_KEYS",
    "api_keys": "LOOPDRIVE_API_KEYS",
    "link_keys": "LOOPDRIVE_LINK_KEYS",
}
# Which credential checks whose webhooks, and whose subscription is confirmed with which token.
WEBHOOK_SECRETS = {
    "sendgrid": "sendgrid_webhook_key",
    "twilio": "twilio_auth_token",
    "resend": "resend_webhook_secret",
    "whatsapp": "whatsapp_app_secret",
    "webhook": "loopdrive_webhook_secret",
}
CHALLENGE_TOKENS = {"whatsapp": "whatsapp_verify_token"}
# Folder of landed lines by the kind of source that reads it.
LANDED = {"segment": "events", "provider_events": "provider_events"}


class GatewaySettings(BaseModel):
    """Where the HTTP front listens, whose pages may post events, how much a key may send.

    A file that has this section (`gateway: {}`) gets what the gateway lands as two sources.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65_535)
    origins: tuple[str, ...] = ("*",)
    events_per_second: int = Field(default=20_000, ge=1)
    requests_per_second: int = Field(default=200, ge=1)
    body_seconds: float = Field(default=10, gt=0)
    rotate_seconds: int = Field(default=60, ge=1, le=3600)


def landing(settings: "Settings") -> Path:
    """The folder above those of LANDED."""
    return settings.workspace_home / "gateway"


def write_keys(settings: "Settings") -> Mapping[str, str]:
    """Names by write key. Write keys are public, since pages carry them."""
    return _keys(settings, "write_keys", "write key")


def api_keys(settings: "Settings") -> Mapping[str, str]:
    """Names by key of the site's own servers."""
    return _keys(settings, "api_keys", "api key")


def link_keys(settings: "Settings") -> tuple[bytes, ...]:
    """Keys of links in messages: the first signs, all are honoured.

    The last is derived from the workspace's own key, so that links work without configuration.
    """
    own = hmac.digest(settings.person_key, b"links in messages", "sha256")
    return (*(key.get_secret_value().encode() for key in settings.secrets.link_keys), own)


def webhook_secrets(settings: "Settings") -> Mapping[str, tuple[str, ...]]:
    """What checks each provider's webhooks; several, comma-separated, during a rotation."""
    return _secrets(settings, WEBHOOK_SECRETS)


def challenge_tokens(settings: "Settings") -> Mapping[str, tuple[str, ...]]:
    """What confirms a subscription to each provider's webhooks."""
    return _secrets(settings, CHALLENGE_TOKENS)


def _secrets(settings: "Settings", fields: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    held = {name: getattr(settings.secrets, field) for name, field in fields.items()}
    return {
        name: tuple(part.strip() for part in secret.get_secret_value().split(",") if part.strip())
        for name, secret in held.items()
        if secret is not None
    }


def _keys(settings: "Settings", field: str, kind: str) -> Mapping[str, str]:
    given = [key.get_secret_value() for key in getattr(settings.secrets, field)]
    if not given and settings.mode != "live":  # a key of one's own, to try it out
        given = [hmac.digest(settings.person_key, kind.encode(), "sha256").hex()[:32]]
    return {key: f"{kind} {number}" for number, key in enumerate(given, start=1)}
