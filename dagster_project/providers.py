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
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from activations import audit, http, platforms, programs, versions
from activations import providers as messaging
from activations.http import Answer, Request
from activations.platforms import AdPlatform, google_token
from activations.providers import MessageProvider
from warehouse import ConfigError, Settings, Warehouse
from warehouse.credentials import CREDENTIALS

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
    configured = _base_url(settings, name)
    hosts = partial(messaging.hosts, urls={name: configured or ""})
    with _line(settings, name, hosts) as (line, credentials, urls, accounts):
        options = {**_options(settings, name), **accounts.get(name, {})}
        yield messaging.provider(name, credentials, urls.get(name) or configured, options), line


def carriers(settings: Settings) -> dict[str, str]:
    """The message provider of each channel."""
    held = settings.providers.items()
    return messaging.carriers({name: one.options for name, one in held if one.enabled})


def message_providers(settings: Settings) -> tuple[str, ...]:
    """The providers through which messages of this workspace may leave, in the registry's order.

    SendGrid and Twilio, those that the file names, and those that carry a channel of a program.
    """
    by_channel = carriers(settings)
    used = {by_channel[channel] for channel in programs.channels(settings.programs)}
    wanted = used | set(settings.providers) | {"sendgrid", "twilio"}
    return tuple(name for name in messaging.NAMES if name in wanted)


def versions_that_end(settings: Settings, today: date) -> list[str]:
    """A warning for each API version in use that ends soon, or that nobody looked at for long."""
    names = message_providers(settings)
    used = [messaging.version_of(name, _options(settings, name)) for name in names]
    return versions.outdated([*used, *platforms.VERSIONS], today)


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
        line = Line(partial(http.send, client), _no_clock)
        yield line, _credentials(settings, name, client), {}, {}


def _no_clock(_moment: datetime) -> None:
    """Vendors have clocks of their own."""


# A dry run plans whole requests and calls nobody, so it needs names in place of credentials.
_DRY_CREDENTIALS: Mapping[str, str | None] = {
    name: "dry-run" for name in (*CREDENTIALS, "google_access_token")
}
_DRY_ACCOUNTS: Mapping[str, Mapping[str, str]] = {
    "whatsapp": {"phone_number_id": "dry-run", "template": "dry-run"},
    "fcm": {"project_id": "dry-run"},
    "meta": {"pixel_id": "dry-run"},
    "google": {"customer_id": "dry-run", "conversion_action_id": "dry-run"},
}


def _must_be_enabled(settings: Settings, name: str) -> None:
    held = settings.providers.get(name)
    if held is None or not held.enabled:
        raise ConfigError(f"mode is live, but providers.{name}.enabled is not true")


def _credentials(settings: Settings, name: str, client: Any) -> dict[str, str | None]:
    secrets = settings.secrets
    found: dict[str, str | None] = {
        key: secret.get_secret_value() if (secret := getattr(secrets, key)) else None
        for key in CREDENTIALS
    }
    scopes = google_token.SCOPES_OF.get(name)
    if scopes and secrets.google_credentials is not None:
        path = secrets.google_credentials.get_secret_value()
        # Google refuses assertions from another hour: the one place that needs the true time.
        now = datetime.now(UTC)
        found["google_access_token"] = google_token.access_token(path, client, now, scopes)
    return found


def _base_url(settings: Settings, name: str) -> str | None:
    held = settings.providers.get(name)
    return held.base_url if held else None


def _options(settings: Settings, name: str) -> Mapping[str, str]:
    held = settings.providers.get(name)
    return held.options if held else {}
