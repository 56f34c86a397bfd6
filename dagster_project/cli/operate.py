"""Operating: `doctor`, `stop`, `dev`.

Keep out: the loop itself.
"""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dagster_project import storage
from dagster_project.cli import report
from dagster_project.cli.app import Config, app, console, settings_of
from warehouse import diagnosis, server

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@app.command()
def doctor(config: Config = None) -> None:
    """Versions (the vendors' too), connection, roles, migrations, credentials, the machine."""
    from dagster_project import providers

    settings = settings_of(config)
    ending = providers.versions_that_end(settings, datetime.now(UTC).date())
    told = "; ".join(ending) or "of the vendors' APIs in use none ends within 90 days"
    findings = [
        *diagnosis.examine(settings),
        diagnosis.Finding("api versions", told, is_warning=bool(ending)),
    ]
    report.findings(console, findings)
    if any(finding.is_broken for finding in findings):
        raise typer.Exit(1)


@app.command()
def stop(config: Config = None) -> None:
    """Stop the embedded server of this workspace's home."""
    settings = settings_of(config)
    if settings.database_url is not None:
        console.print("LOOPDRIVE_DATABASE_URL names a server of yours; it is left alone")
    elif server.stop(settings.home):
        console.print("the embedded server is stopped")
    else:
        console.print("the embedded server was not running")


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI on this machine.")] = 3000,
    config: Config = None,
) -> None:
    """Open the Dagster UI on this workspace, and its gateway where the configuration has one."""
    settings = settings_of(config)
    environment = os.environ | {
        "DAGSTER_HOME": str(storage.home(settings)),
        "LOOPDRIVE_CONFIG": str(settings.config_path),
        "LOOPDRIVE_HOME": str(settings.home),
        # Dagster warns on its command's first line that another one will follow it.
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore::FutureWarning"),
    }
    console.print(f"the Dagster UI opens at http://127.0.0.1:{port}; Ctrl-C ends it")
    command = [
        *(sys.executable, "-m", "dagster", "dev"),
        *("-w", str(REPOSITORY / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)),
    ]
    os.chdir(REPOSITORY)
    if settings.gateway is None:
        os.execve(sys.executable, command, environment)
    raise typer.Exit(_with_companion(command, _GATEWAY, environment))


_GATEWAY = [sys.executable, "-c", "from dagster_project.cli import main; main()", "gateway"]


def _with_companion(command: list[str], companion: list[str], environment: dict[str, str]) -> int:
    """Run a command, and another as long as it runs; the first one's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    beside = subprocess.Popen(companion, env=environment)
    main = subprocess.Popen(command, env=environment)
    try:
        return main.wait()
    except KeyboardInterrupt:  # Ctrl-C reached them as well
        return main.wait()
    finally:
        for one in (main, beside):
            if one.poll() is None:
                one.terminate()
            one.wait()
