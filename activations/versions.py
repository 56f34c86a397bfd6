"""Versions of vendors' APIs: which one is spoken, when it ends, and a warning before that.

Belongs here: the type, the warning, and how a workspace says otherwise.
Keep out: the versions themselves, which stand beside the adapter that speaks them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta


@dataclass(frozen=True)
class ApiVersion:
    """A vendor's API version. `expires` None: no end was announced when it was last checked."""

    api: str
    version: str
    expires: date | None
    checked_on: date


def outdated(
    versions: Iterable[ApiVersion], today: date, notice: timedelta = timedelta(days=90)
) -> list[str]:
    """Name every version that ends within the notice, or was not checked for half a year."""
    warnings = []
    for version in versions:
        name = f"{version.api} {version.version}"
        if version.expires and version.expires <= today:
            warnings.append(f"{name} ended on {version.expires}")
        elif version.expires and version.expires - today <= notice:
            warnings.append(f"{name} ends on {version.expires}")
        elif today - version.checked_on > timedelta(days=182):
            warnings.append(f"{name} was last checked on {version.checked_on}")
    return warnings


def configured(shipped: ApiVersion, options: Mapping[str, str]) -> ApiVersion:
    """The shipped version, or the one that a workspace's options name.

    Options: `api_version`, `api_version_expires` and `api_version_checked` (ISO dates). Raises
    ValueError for a date that is none.
    """
    expires, checked_on = shipped.expires, shipped.checked_on
    if "api_version" in options:
        expires = None
    if "api_version_expires" in options:
        expires = date.fromisoformat(options["api_version_expires"])
    if "api_version_checked" in options:
        checked_on = date.fromisoformat(options["api_version_checked"])
    version = options.get("api_version", shipped.version)
    return replace(shipped, version=version, expires=expires, checked_on=checked_on)
