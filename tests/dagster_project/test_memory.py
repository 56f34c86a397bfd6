"""Peak memory: this process and its children, also when the peak is short."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from dagster_project.cli import memory
from dagster_project.cli.memory import PeakMemory

CHILD = "held = bytearray(b'x') * (120 << 20); print('held', flush=True); input()"


def test_the_peak_holds_this_process_and_its_children(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "EVERY_SECONDS", 0.02)
    with PeakMemory(tmp_path) as quiet:
        time.sleep(0.2)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        PeakMemory(tmp_path) as peak,
        subprocess.Popen([sys.executable, "-c", CHILD], **pipes, text=True) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        held = np.ones(25_000_000)  # 200 MB
        time.sleep(0.5)
        child.communicate("\n")
        del held
    assert 290 < peak.megabytes - quiet.megabytes < 420
