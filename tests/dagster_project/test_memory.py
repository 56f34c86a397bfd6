"""Peak memory: a process and its children, also when the peak is short."""

import subprocess
import sys
from pathlib import Path

# In a process of its own: the one that runs the tests frees and keeps memory as it likes.
MEASURED = """
import subprocess, sys, time
from pathlib import Path
from dagster_project.cli import memory

memory.EVERY_SECONDS = 0.02
home = Path(sys.argv[1])
child_code = "held = bytearray(b'x') * (120 << 20); print('held', flush=True); input()"
with memory.PeakMemory(home) as quiet:
    time.sleep(0.3)
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
with memory.PeakMemory(home) as peak:
    with subprocess.Popen([sys.executable, "-c", child_code], **pipes) as child:
        child.stdout.readline()
        held = bytearray(b"x") * (200 << 20)
        time.sleep(0.5)
        del held
        child.communicate("\\n")
print(peak.megabytes - quiet.megabytes)
"""


def test_the_peak_holds_a_process_and_its_children(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert 310 < float(done.stdout) < 370
