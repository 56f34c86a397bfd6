"""Group commit: requests that arrive together share one write and one sync.

Belongs here: the queue in front of a landing log, and who waits for what.
Keep out: files (`landing.py`), requests.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.landing import LandingError, LandingLog

# What may wait for the disk before senders are told to come back later.
MAX_WAITING_BYTES = 32 << 20
HOUSEKEEPING_SECONDS = 1.0


@dataclass
class _Group:
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class Commits:
    """The queue of one log. `append` returns when the lines are on the disk.

    While one group is being synced the next one gathers, so the wait is at most two syncs and
    the number of syncs does not grow with the number of requests.
    """

    def __init__(self, log: LandingLog) -> None:
        self.log = log
        self.is_failing = False
        self._next = _Group()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="landing")

    async def append(self, lines: bytes) -> None:
        """Make whole lines durable. Raises LandingError; then nothing of them was kept."""
        group = self._next
        if group.size + len(lines) > MAX_WAITING_BYTES:
            raise LandingError("too much is waiting for the disk")
        waiter = asyncio.get_running_loop().create_future()
        group.chunks.append(lines)
        group.size += len(lines)
        group.waiters.append(waiter)
        self._arrived.set()
        await waiter

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commit, rotate and recover until left; what has arrived by then is committed."""
        await self._on_thread(self.log.recover)
        tasks = [asyncio.create_task(self._commit_groups()), asyncio.create_task(self._tidy())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._commit_group()
            await self._on_thread(self.log.rotate)
            self._thread.shutdown()

    async def _commit_groups(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.shield(self._commit_group())

    async def _commit_group(self) -> None:
        self._arrived.clear()
        group, self._next = self._next, _Group()
        if not group.chunks:
            return
        failure: LandingError | None = None
        try:
            await self._on_thread(self.log.commit, b"".join(group.chunks))
        except LandingError as error:
            failure = error
        self.is_failing = failure is not None
        for waiter in group.waiters:
            if waiter.done():  # its sender has gone
                continue
            if failure is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(LandingError(*failure.args))

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            await self._on_thread(self.log.rotate_when_due)
            with contextlib.suppress(OSError):
                await self._on_thread(self.log.recover)

    async def _on_thread(self, work, *arguments) -> None:  # type: ignore[no-untyped-def]
        await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
