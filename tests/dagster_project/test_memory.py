"""Peak memory: this process and its children, also when the peak is short."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from dagster_project.cli import memory
from dagster_project.cli.memory import PeakMemory

CHILD = "import time; held = bytearray(b'x') * (120 << 20); time.sleep({seconds})"


def test_the_peak_holds_this_process_and_its_children(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "EVERY_SECONDS", 0.02)
    with PeakMemory(tmp_path) as quiet:
        time.sleep(0.2)
    with (
        PeakMemory(tmp_path) as peak,
        subprocess.Popen([sys.executable, "-c", CHILD.format(seconds=1)]),
    ):
        held = np.ones(25_000_000)  # 200 MB
        time.sleep(0.8)
        del held
    assert 290 < peak.megabytes - quiet.megabytes < 420
