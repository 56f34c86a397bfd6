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
    buffers count once. The kernel walks every page for them, some 4 ms a process, so they are
    read only when the private pages, which cost nothing to read, stand higher than ever.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._peak = 0
        self._private_peak = 0
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
            processes = self._processes()
            private = sum(_private(process) for process in processes)
            if private > self._private_peak:
                self._private_peak = private
                self._peak = max(self._peak, sum(_size(process) for process in processes))
            self._stop.wait(EVERY_SECONDS)

    def _processes(self) -> list[psutil.Process]:
        found = _family(psutil.Process())
        running = server.find(self._home)
        if running is not None and psutil.pid_exists(running.pid):
            found += _family(psutil.Process(running.pid))
        return found


def _family(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants; asks the kernel's own list where it keeps one."""
    tasks = Path(f"/proc/{process.pid}/task")
    try:
        texts = [(task / "children").read_text() for task in tasks.iterdir()]
    except OSError:
        return [process, *process.children(recursive=True)]
    found = [process]
    for pid in " ".join(texts).split():
        try:
            found += _family(psutil.Process(int(pid)))
        except psutil.NoSuchProcess:
            continue
    return found


def _private(process: psutil.Process) -> int:
    try:
        info = process.memory_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return info.rss - getattr(info, "shared", 0)


def _size(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return getattr(info, "pss", info.rss)
