"""Ad platforms: daily budgets and conversions out, answers read.

Belongs here: one module per vendor API, the seam they share, and this registry.
Keep out: how budgets are allocated, which conversions count, all I/O but through a sender.
"""

from collections.abc import Iterable, Mapping

from activations.platforms import google, google_token, meta
from activations.platforms.push import push_budget, upload_conversions
from activations.platforms.seam import (
    AdPlatform,
    BudgetChange,
    BudgetResult,
    Conversion,
    ConversionResult,
    Sender,
)
from activations.versions import ApiVersion, outdated

__all__ = [
    "NAMES", "VERSIONS", "AdPlatform", "ApiVersion", "BudgetChange", "BudgetResult", "Conversion",
    "ConversionResult", "MissingAccountError", "Sender", "hosts", "outdated", "platform",
    "push_budget", "upload_conversions",
]  # fmt: skip

HOSTS: Mapping[str, frozenset[str]] = {
    "meta": meta.HOSTS,
    "google": google.HOSTS | google_token.HOSTS,
}
NAMES = tuple(HOSTS)
VERSIONS = (meta.GRAPH, google.ADS, google.data_manager.VERSION)


class MissingAccountError(ValueError):
    """A platform was asked for without an account id or a credential that it needs."""


def platform(
    name: str,
    access_token: str | None,
    account: Mapping[str, str | None],
    urls: Mapping[str, str] | None = None,
) -> AdPlatform:
    """Build a platform by name.

    `account`: meta `pixel_id`; google `customer_id`, `conversion_action_id` and, through a
    manager, `login_customer_id`. `urls` replaces the vendor's hosts (stand-ins): `meta`,
    `google-ads`, `datamanager`. Raises MissingAccountError, KeyError for an unknown name.
    """
    aimed = urls or {}
    if name not in HOSTS:
        raise KeyError(f"no ad platform {name!r}; there are {', '.join(NAMES)}")
    token = _needed("access_token", access_token, name)
    if name == "meta":
        pixel_id = _needed("pixel_id", account.get("pixel_id"), name)
        return meta.Meta(token, pixel_id, aimed.get("meta", meta.BASE_URL))
    return google.Google(
        token,
        _needed("customer_id", account.get("customer_id"), name),
        _needed("conversion_action_id", account.get("conversion_action_id"), name),
        account.get("login_customer_id"),
        aimed.get("google-ads", google.ADS_URL),
        aimed.get("datamanager", google.data_manager.BASE_URL),
    )


def hosts(names: Iterable[str]) -> frozenset[str]:
    """Return the hosts that the named platforms call in live mode."""
    return frozenset().union(*(HOSTS[name] for name in names))


def _needed(key: str, value: str | None, name: str) -> str:
    if not value:
        raise MissingAccountError(f"providers.{name}.{key} is not set")
    return value
