"""Serving: uvicorn with what a public server needs.

Belongs here: limits of connections, logging without traces of data. Keep out: routes.
"""

import logging
from typing import Any

import uvicorn
from starlette.types import ASGIApp

MAX_CONNECTIONS = 2_000
KEEP_ALIVE_SECONDS = 30
SHUTDOWN_SECONDS = 15


class PlainFormatter(logging.Formatter):
    """An exception is its type and the place in our code: its text may quote what was sent."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """`ValueError at people.py:120`."""
        kind, _, trace = ei
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if kind is None or trace is None:
            return ""
        place = trace.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
        return f"{kind.__name__} at {place}:{trace.tb_lineno}"


_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": PlainFormatter, "format": "%(asctime)s %(levelname)s %(message)s"}
    },
    "handlers": {
        "standard": {"class": "logging.StreamHandler", "formatter": "plain"},
    },
    "loggers": {
        "uvicorn.error": {"handlers": ["standard"], "level": "WARNING", "propagate": False},
    },
}


def server(app: ASGIApp, host: str, port: int) -> uvicorn.Server:
    """A server, not yet running. Paths hold tokens, so there is no access log."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=_LOGGING,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            backlog=2048,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
