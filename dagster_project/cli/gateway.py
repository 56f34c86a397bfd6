"""The gateway: `loopdrive gateway`.

Keep out: routes and what they do (`gateway/`).
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer

from dagster_project.cli.app import Config, app, console, settings_of
from warehouse import ConfigError, Settings, front, open_warehouse


@app.command()
def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen at.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; 0 takes a free one.")] = None,
    config: Config = None,
) -> None:
    """Serve events, webhooks, unsubscribing and look-ups over HTTP until interrupted."""
    from gateway import app as application
    from gateway import serving

    settings = settings_of(config)
    if settings.gateway is None:
        raise ConfigError(
            f"{settings.config_path}: no `gateway:` section; `gateway: {{}}` opens it and reads"
            " what it lands"
        )
    made = application.gateway(
        settings, open_warehouse(settings), lambda: datetime.now(UTC), lambda: uuid.uuid4().hex
    )
    at = host or settings.gateway.host
    number = settings.gateway.port if port is None else port
    server = serving.server(application.create(made), at, number)
    _say(settings, at, number)
    server.run()
    if not server.started:
        raise ConfigError(f"cannot listen at {at}:{number}; give another --port")


def _say(settings: Settings, host: str, port: int) -> None:
    console.print(f"the gateway serves at http://{host}:{port}; Ctrl-C ends it")
    if settings.mode == "live":
        for kind, variable in front.KEY_LISTS.items():
            if not getattr(settings.secrets, kind) and kind != "link_keys":
                console.print(f"{variable} is not set: such calls are refused")
        return
    # Keys from the environment are known to whoever set them, and stay unsaid.
    if not settings.secrets.write_keys:
        _say_keys(front.write_keys(settings))
    if not settings.secrets.api_keys:
        _say_keys(front.api_keys(settings))


def _say_keys(keys: Mapping[str, str]) -> None:
    for key, name in keys.items():
        console.print(f"{name}: {key}", highlight=False)
