"""Connections to the warehouse, kept open between requests.

Belongs here: lending them, and throwing broken ones away. Keep out: SQL.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from warehouse import Warehouse

MAX_CONNECTIONS = 8


class Connections:
    """At most `size` connections in autocommit, lent to one thread at a time."""

    def __init__(self, warehouse: Warehouse, size: int = MAX_CONNECTIONS) -> None:
        self.warehouse = warehouse
        self._free = threading.Semaphore(size)
        self._idle: list[psycopg.Connection[dict[str, Any]]] = []

    @contextmanager
    def lent(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A connection. Raises psycopg.OperationalError when the server is not there."""
        with self._free:
            connection = self._idle.pop() if self._idle else self._opened()
            try:
                yield connection
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    connection.close()
                raise
            self._idle.append(connection)

    def read(self, work: Callable[[psycopg.Connection[dict[str, Any]]], Any]) -> Any:
        """A piece of reading, once more on a new connection where the first had died."""
        try:
            with self.lent() as connection:
                return work(connection)
        except psycopg.OperationalError:
            self.close()
            with self.lent() as connection:
                return work(connection)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            with contextlib.suppress(psycopg.Error, IndexError):
                self._idle.pop().close()

    def _opened(self) -> psycopg.Connection[dict[str, Any]]:
        connection = self.warehouse.connect()
        connection.autocommit = True
        connection.execute("set statement_timeout = '5s'")
        return connection
