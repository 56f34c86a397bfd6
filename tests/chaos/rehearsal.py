"""One rehearsal from nothing to its books: a server of its own, stand-ins, proxies, a crew.

Belongs here: opening and closing all of that. Keep out: what happens in between (`turmoil.py`).
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from sandbox import standins
from tests.activations import dispatchers, proxies
from tests.chaos import books, plan, turmoil
from warehouse import Warehouse, migrations
from warehouse import server as servers


def rehearse(count: int, seed: int, say: Callable[[str], None]) -> books.Books:
    """Plan `count` messages, send them in turmoil, close the books."""
    home = Path(tempfile.mkdtemp(prefix="loopdrive-chaos-"))
    try:
        return _rehearse(home, count, np.random.default_rng(seed), say)
    finally:
        servers.stop(home)
        shutil.rmtree(home, ignore_errors=True)


def _rehearse(
    home: Path, count: int, random: np.random.Generator, say: Callable[[str], None]
) -> books.Books:
    running = servers.start(home)
    plan.empty(running.url("postgres"), "chaos")
    migrations.apply(running.url("chaos"))
    house, diary = Warehouse(running.url("chaos")), turmoil.Diary()
    began = time.monotonic()
    planned = plan.plan(house, count, random)
    say(f"{planned} messages planned in {time.monotonic() - began:.1f} s")
    with ExitStack() as stack:
        scene = _scene(stack, home, house, running, random)
        stack.enter_context(turmoil.watched(scene, diary))
        turmoil.play(scene, diary, say)
        for name, times in sorted(diary.faults.items()):
            say(f"{times:>7}  {name}")
        say(f"{len(diary.revoked):>7}  revokes, {len(diary.merged)} merges")
    return books.close(house, diary, planned)


def _scene(
    stack: ExitStack, home: Path, house: Warehouse, running: servers.Server,
    random: np.random.Generator,
) -> turmoil.Scene:  # fmt: skip
    counter = proxies.Counter()
    vendors = stack.enter_context(standins.serve(home / "vendors"))
    crew = stack.enter_context(dispatchers.nursery())
    port = stack.enter_context(
        proxies.to_postgres(counter, running.socket_dir, servers.SOCKET_PORT)
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/chaos?sslmode=disable&gssencmode=disable"
    urls = {name: vendors.urls[name] for name in turmoil.PROVIDERS}
    return turmoil.Scene(house, home, crew, counter, vendors, url, urls, random)
