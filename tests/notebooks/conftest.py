"""A played workspace: the real command on a small simulated market, once for all tests here.

Keep out: what is expected of it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from warehouse import Settings, load_settings, server

ROOT = Path(__file__).resolve().parents[2]
PEOPLE, HISTORY_DAYS = 300, 200


@pytest.fixture(scope="session")
def played() -> Iterator[Settings]:
    """Settings of a workspace after `loopdrive run --days 2`; gone when the session ends."""
    home = Path(tempfile.mkdtemp(prefix="loopdrive-played-"))
    market = load_settings(None, environ={"LOOPDRIVE_HOME": str(home)})
    config = yaml.safe_load(market.config_path.read_text(encoding="utf-8"))
    config["simulation"] |= {"people": PEOPLE, "days": HISTORY_DAYS}
    path = home / "loopdrive.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    try:
        ended = command(
            home, "-c", "from dagster_project.cli import main; main()", "run", "--days=2"
        )
        assert ended.returncode == 0, ended.stderr
        yield load_settings(path, environ={})
    finally:
        server.stop(home / ".loopdrive")
        shutil.rmtree(home, ignore_errors=True)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python of this environment in `folder`, without what the environment says of LoopDrive."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("LOOPDRIVE_")
    } | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
