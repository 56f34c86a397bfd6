"""The wiring's one door to the outside: stand-ins in a sandbox, vendors in live mode.

Belongs here: opening clients with the right hosts and credentials, letting a simulated world live,
scoring a rehearsal. Keep out: wire formats (`activations`), the world itself (`sandbox`).
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from activations import audit, http, platforms
from activations import providers as messaging
from activations.http import Answer, Request
from activations.platforms import AdPlatform, google_token
from activations.providers import MessageProvider
from warehouse import ConfigError, Settings, Warehouse

Sender = Callable[[Request], Answer]


@dataclass(frozen=True)
class Line:
    """An open line to one vendor. `sender` is None in a dry run; `set_clock` moves stand-ins."""

    sender: Sender | None
    set_clock: Callable[[datetime], None]


def live(settings: Settings, as_of: datetime, meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Let the simulated world live up to `as_of`; False where nothing is simulated.

    Its history takes seconds and a process of its own; this one calls `meanwhile` then.
    """
    if settings.simulation is None or settings.mode == "live":
        return False
    import sandbox

    home = settings.workspace_home
    if not sandbox.is_founded(home):
        with ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL)
        ) as world:
            history = world.submit(
                sandbox.found, settings.simulation, home, as_of, settings.currency
            )
            meanwhile()
            history.result()
    sandbox.live(settings.simulation, home, as_of, settings.currency)
    return True


def score(settings: Settings, warehouse: Warehouse, as_of: datetime) -> dict[str, Any]:
    """The scorecard of a rehearsal against the simulated truth."""
    from sandbox import scorecard

    truth = settings.workspace_home / "truth"
    return scorecard.score(warehouse, truth, as_of, audit.verify(warehouse).is_intact)


@contextmanager
def message_line(settings: Settings, name: str) -> Iterator[tuple[MessageProvider, Line]]:
    """A message provider and the line to it."""
    with _line(settings, name, messaging.hosts) as (line, credentials, urls, _accounts):
        url = urls.get(name) or _base_url(settings, name)
        yield messaging.provider(name, credentials, url), line


@contextmanager
def platform_line(settings: Settings, name: str) -> Iterator[tuple[AdPlatform, Line]]:
    """An ad platform and the line to it."""
    with _line(settings, name, platforms.hosts) as (line, credentials, urls, accounts):
        account = accounts.get(name) or _options(settings, name)
        token = credentials.get(f"{name}_access_token")
        yield platforms.platform(name, token, account, urls), line


@contextmanager
def _line(
    settings: Settings, name: str, hosts: Callable[[list[str]], frozenset[str]]
) -> Iterator[tuple[Line, Mapping[str, str | None], Mapping[str, str], Mapping[str, Any]]]:
    if settings.mode == "sandbox":
        from sandbox import standins

        with (
            standins.serve(settings.workspace_home, settings.currency) as servers,
            http.open_client("sandbox") as client,
        ):
            line = Line(partial(http.send, client), servers.set_clock)
            yield line, servers.credentials, servers.urls, servers.accounts
        return
    if settings.mode == "dry_run":
        yield Line(None, _no_clock), _DRY_CREDENTIALS, {}, _DRY_ACCOUNTS
        return
    _must_be_enabled(settings, name)
    with http.open_client("live", hosts([name])) as client:
        yield Line(partial(http.send, client), _no_clock), _credentials(settings, client), {}, {}


def _no_clock(_moment: datetime) -> None:
    """Vendors have clocks of their own."""


# A dry run plans whole requests and calls nobody, so it needs names in place of credentials.
_DRY_CREDENTIALS: Mapping[str, str | None] = {
    name: "dry-run"
    for name in (
        "sendgrid_api_key",
        "twilio_account_sid",
        "twilio_auth_token",
        "meta_access_token",
        "google_access_token",
    )
}
_DRY_ACCOUNTS: Mapping[str, Mapping[str, str]] = {
    "meta": {"pixel_id": "dry-run"},
    "google": {"customer_id": "dry-run", "conversion_action_id": "dry-run"},
}


def _must_be_enabled(settings: Settings, name: str) -> None:
    held = settings.providers.get(name)
    if held is None or not held.enabled:
        raise ConfigError(f"mode is live, but providers.{name}.enabled is not true")


def _credentials(settings: Settings, client: Any) -> dict[str, str | None]:
    secrets = settings.secrets
    found: dict[str, str | None] = {
        name: secret.get_secret_value() if (secret := getattr(secrets, name)) else None
        for name in (
            "sendgrid_api_key",
            "twilio_account_sid",
            "twilio_auth_token",
            "meta_access_token",
        )
    }
    if secrets.google_credentials is not None:
        path = secrets.google_credentials.get_secret_value()
        # Google refuses assertions from another hour: the one place that needs the true time.
        found["google_access_token"] = google_token.access_token(path, client, datetime.now(UTC))
    return found


def _base_url(settings: Settings, name: str) -> str | None:
    held = settings.providers.get(name)
    return held.base_url if held else None


def _options(settings: Settings, name: str) -> Mapping[str, str]:
    held = settings.providers.get(name)
    return held.options if held else {}
