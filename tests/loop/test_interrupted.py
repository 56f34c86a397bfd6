"""Ctrl-C in the middle, then the same command again: it completes, and nothing is there twice.

Belongs here: a real process, interrupted where it hurts. Keep out: crashes inside a send
(`tests/activations`).
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from activations import audit
from dagster_project import providers
from tests.loop.conftest import DAYS, SMALL
from tests.loop.playing import Home, adopted, differing, new_home, row_hashes

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[2]
COMMAND = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'loopdrive';"
    " from dagster_project.cli import main; main()"
)
INTERRUPTED = 130


def run(home: Home, interrupt_when: Callable[[], bool] | None = None) -> tuple[int, str]:
    """`loopdrive run` in a process of its own; one SIGINT as soon as the condition holds."""
    day = home.planned(DAYS)[0]
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-c", COMMAND, str(ROOT)),
            *("run", "--config", str(home.settings.config_path)),
            *("--as-of", f"{day:%Y-%m-%dT%H:%M:%S%z}"),
        ],
        env={name: value for name, value in os.environ.items() if "LOOPDRIVE" not in name},
        cwd=home.settings.home.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while interrupt_when is not None and process.poll() is None:
        if interrupt_when():
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.02)
    out, _ = process.communicate(timeout=900)
    return process.returncode, out


def test_a_run_interrupted_twice_ends_like_one_that_was_not(market):
    day = market.planned(DAYS)[0]
    with new_home(SMALL) as home:
        landed = home.settings.landing / "segment"
        built = home.settings.workspace_home / "dbt" / "target" / "run"
        code, out = run(home, lambda: any(landed.glob("*.gz")))
        assert (code, "Traceback" in out) == (INTERRUPTED, False), out
        code, out = run(home, built.is_dir)
        assert (code, "Traceback" in out) == (INTERRUPTED, False), out
        code, out = run(home)
        assert code == 0, out
        assert differing(market.hashes[day], row_hashes(home.warehouse)) == []
        assert len(home.logged("accepted")) == len(
            [row for row in market.logged("accepted") if row["accepted_at"] < _end_of(market)]
        )


def test_a_run_interrupted_while_it_sends_says_nothing_twice():
    with new_home(SMALL) as home:
        code, out = run(home, lambda: bool(home.logged("accepted")))
        assert (code, "Traceback" in out) == (INTERRUPTED, False), out
        code, out = run(home)
        assert code == 0, out
        keys = Counter(row["message_key"] for row in home.logged("accepted"))
        assert max(keys.values()) == 1
        planned = home.warehouse.rows("select message_key, status from delivery.messages")
        assert {row["message_key"] for row in planned} == set(keys)
        with adopted(home.settings):
            card = providers.score(home.settings, home.warehouse, home.planned(DAYS)[0])
        assert card["duplicate_messages"] == 0
        assert audit.verify(home.warehouse).is_intact


def _end_of(market: Home) -> str:
    return f"{market.planned(DAYS)[1]:%Y-%m-%dT%H:%M:%S}Z"
