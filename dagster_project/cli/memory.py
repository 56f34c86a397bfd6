"""Peak memory of a run: this process, its children and the embedded server together.

Keep out: limits; this only measures.
"""

import threading
from pathlib import Path
from types import TracebackType

import psutil

from warehouse import server

EVERY_SECONDS = 0.5


class PeakMemory:
    """Samples proportional set sizes in a thread; `megabytes` is the largest sum seen.

    Proportional sizes count a page shared by n processes as 1/n, so that the server's shared
    buffers count once.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def megabytes(self) -> float:
        """The peak so far, in MiB."""
        return self._peak / 2**20

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.is_set():
            self._peak = max(self._peak, sum(_size(process) for process in self._processes()))
            self._stop.wait(EVERY_SECONDS)

    def _processes(self) -> list[psutil.Process]:
        own = psutil.Process()
        found = [own, *own.children(recursive=True)]
        running = server.find(self._home)
        if running is not None and psutil.pid_exists(running.pid):
            postmaster = psutil.Process(running.pid)
            found += [postmaster, *postmaster.children()]
        return found


def _size(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return getattr(info, "pss", info.rss)
