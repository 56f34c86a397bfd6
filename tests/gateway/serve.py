"""A gateway as a process of its own: `serve.py FOLDER`; prints its port when it serves.

Belongs here: what the tests that kill it, and the benchmark's shape of it, need. No tests.
"""

import asyncio
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from gateway import app, serving
from tests.gateway.conftest import ENVIRONMENT, NOBODY, configured


async def main() -> None:
    settings = configured(Path(sys.argv[1]), ENVIRONMENT, gateway={"events_per_second": 10**6})
    made = app.gateway(settings, NOBODY, lambda: datetime.now(UTC), lambda: uuid.uuid4().hex)
    server = serving.server(app.create(made), "127.0.0.1", 0)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await running


if __name__ == "__main__":
    asyncio.run(main())
