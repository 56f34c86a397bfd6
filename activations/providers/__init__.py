"""Message providers: rendered messages in, requests out, answers and webhooks read.

Belongs here: one module per provider, the seam they share, and this registry.
Keep out: consent, caps, the outbox, and all I/O (`activations.http` sends).
"""

from collections.abc import Iterable, Mapping

from activations.providers import sendgrid, twilio
from activations.providers.seam import (
    EVENT_RANK,
    Batch,
    InboundEvent,
    Item,
    ItemResult,
    Limits,
    MessageProvider,
    Outcome,
    RateState,
)

__all__ = [
    "EVENT_RANK", "NAMES", "Batch", "InboundEvent", "Item", "ItemResult", "Limits",
    "MessageProvider", "MissingCredentialError", "Outcome", "RateState", "hosts", "provider",
    "provider_for",
]  # fmt: skip

HOSTS: Mapping[str, frozenset[str]] = {"sendgrid": sendgrid.HOSTS, "twilio": twilio.HOSTS}
NAMES = tuple(HOSTS)
DEFAULT_BY_CHANNEL: Mapping[str, str] = {"email": "sendgrid", "sms": "twilio"}


class MissingCredentialError(ValueError):
    """A provider was asked for without a credential that it needs."""


def provider(
    name: str, credentials: Mapping[str, str | None], base_url: str | None = None
) -> MessageProvider:
    """Build a provider by name.

    Credentials by provider: sendgrid `sendgrid_api_key`; twilio `twilio_account_sid` and
    `twilio_auth_token`. `base_url` replaces the vendor's host (a regional one, or a stand-in).
    Raises MissingCredentialError naming the credential, KeyError for an unknown name.
    """
    if name == "sendgrid":
        key = _credential(credentials, "sendgrid_api_key")
        return sendgrid.SendGrid(key, base_url or sendgrid.BASE_URL)
    if name == "twilio":
        sid = _credential(credentials, "twilio_account_sid")
        token = _credential(credentials, "twilio_auth_token")
        return twilio.Twilio(sid, token, base_url or twilio.BASE_URL)
    raise KeyError(f"no message provider {name!r}; there are {', '.join(NAMES)}")


def provider_for(channel: str) -> str:
    """Return the name of the provider that carries a channel unless a workspace says otherwise."""
    return DEFAULT_BY_CHANNEL[channel]


def hosts(names: Iterable[str]) -> frozenset[str]:
    """Return the hosts that the named providers call in live mode."""
    return frozenset().union(*(HOSTS[name] for name in names))


def _credential(credentials: Mapping[str, str | None], name: str) -> str:
    value = credentials.get(name)
    if not value:
        raise MissingCredentialError(f"{name.upper()} is not set: the provider cannot send")
    return value
