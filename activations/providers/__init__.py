"""Message providers: rendered messages in, requests out, answers and webhooks read.

Belongs here: one module per provider, the seam they share, and this registry.
Keep out: consent, caps, the outbox, and all I/O (`activations.http` sends).
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from activations import versions
from activations.providers import fcm, resend, sendgrid, twilio, webhook, whatsapp
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
    Vendor,
)

__all__ = [
    "DEFAULT_BY_CHANNEL", "EVENT_RANK", "GONE_CODES", "NAMES", "OPT_OUT_CODES", "VENDORS",
    "Batch", "InboundEvent", "Item", "ItemResult", "Limits", "MessageProvider",
    "MissingCredentialError", "Outcome", "RateState", "Vendor", "carriers", "hosts", "listener",
    "provider", "version_of",
]  # fmt: skip

# Adding a vendor is its file and its line here.
_ALL = (
    sendgrid.VENDOR,
    twilio.VENDOR,
    resend.VENDOR,
    whatsapp.VENDOR,
    fcm.VENDOR,
    webhook.VENDOR,
)
VENDORS: Mapping[str, Vendor] = {vendor.name: vendor for vendor in _ALL}
NAMES = tuple(VENDORS)
# Who carries a channel unless the workspace names another.
DEFAULT_BY_CHANNEL: Mapping[str, str] = {
    "email": "sendgrid", "sms": "twilio", "whatsapp": "whatsapp", "push": "fcm",
}  # fmt: skip
# Answers by which a vendor says that a person wants no more, or that an address is gone for good.
OPT_OUT_CODES = frozenset().union(*(vendor.opt_out_codes for vendor in _ALL))
GONE_CODES = frozenset().union(*(vendor.gone_codes for vendor in _ALL))
VARIABLES = {"google_access_token": "GOOGLE_APPLICATION_CREDENTIALS"}
_UNUSED = "unused"


class MissingCredentialError(ValueError):
    """A provider was asked for without a credential or an account that it needs."""


def provider(
    name: str,
    credentials: Mapping[str, str | None],
    base_url: str | None = None,
    options: Mapping[str, str] | None = None,
) -> MessageProvider:
    """Build a provider by name.

    `credentials` by the names that its Vendor lists; `base_url` replaces the vendor's host (a
    regional one, or a stand-in); `options` are the workspace's `providers.<name>.options`.
    Raises MissingCredentialError naming what is missing, KeyError for an unknown name.
    """
    if name not in VENDORS:
        raise KeyError(f"no message provider {name!r}; there are {', '.join(NAMES)}")
    vendor, given = VENDORS[name], options or {}
    held = {key: credentials.get(key) or "" for key in vendor.credentials}
    for key, value in held.items():
        if not value:
            variable = VARIABLES.get(key, key.upper())
            raise MissingCredentialError(f"{variable} is not set: {name} cannot send")
    for key in vendor.accounts:
        if not given.get(key):
            raise MissingCredentialError(f"providers.{name}.options.{key} is not set")
    url = base_url or vendor.base_url
    if not url:
        raise MissingCredentialError(f"providers.{name}.base_url is not set")
    return vendor.build(held, url.rstrip("/"), given, version_of(name, given))


def listener(name: str) -> MessageProvider:
    """Build a provider that only reads webhooks: that needs no credential which could send."""
    vendor = VENDORS[name]
    held = dict.fromkeys(vendor.credentials, _UNUSED)
    options = dict.fromkeys(vendor.accounts, _UNUSED) | {"channel": vendor.channels[0]}
    return vendor.build(held, vendor.base_url or "http://127.0.0.1", options, vendor.version)


def version_of(name: str, options: Mapping[str, str] | None = None) -> versions.ApiVersion:
    """Return the API version of a provider: the shipped one, or the one that the options name."""
    return versions.configured(VENDORS[name].version, options or {})


def carriers(enabled: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the provider of each channel: the first enabled one that carries it, or the default.

    `enabled` holds the options of the workspace's enabled providers, in their order; names that
    are no message providers are ignored. A provider of several channels carries the one that its
    option `channel` names.
    """
    found: dict[str, str] = {}
    for name, options in enabled.items():
        if name not in VENDORS:
            continue
        channels = VENDORS[name].channels
        chosen = channels if len(channels) == 1 else [options.get("channel", "")]
        for channel in chosen:
            found.setdefault(channel, name)
    return {**DEFAULT_BY_CHANNEL, **found}


def hosts(names: Iterable[str], urls: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return the hosts that the named providers call in live mode.

    A provider without a host of its own is called where `urls` says, over https.
    """
    own = frozenset().union(*(VENDORS[name].hosts for name in names))
    aimed = [urlsplit((urls or {}).get(name, "")) for name in names if not VENDORS[name].base_url]
    return own | {url.hostname for url in aimed if url.scheme == "https" and url.hostname}
