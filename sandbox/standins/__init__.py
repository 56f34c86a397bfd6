"""Stand-ins for the providers: loopback servers that speak their wire formats.

Belongs here: `serve`, and one module per provider. They check requests as strictly as the
published descriptions, answer like the provider, and log what they accepted.
Keep out: people's answers (the market), and any import from `activations`: a stand-in that shared
code with the adapter would share its mistakes.

    with standins.serve(workspace_home) as servers:
        servers.set_clock(as_of)
        ... servers.urls["sendgrid"], servers.credentials["sendgrid_api_key"] ...
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sandbox.standins import (
    chat,
    datamanager,
    fcm,
    google_ads,
    meta,
    resend,
    sendgrid,
    twilio,
    webhook,
    whatsapp,
)
from sandbox.standins.desk import Desk, Fault, FaultKind
from sandbox.standins.server import STANDINS, Server

__all__ = ["CREDENTIALS", "FaultKind", "StandIns", "serve"]

# They open nothing but the stand-ins, so that sandbox mode never needs a real credential.
CREDENTIALS: dict[str, str] = {
    "sendgrid_api_key": sendgrid.API_KEY,
    "twilio_account_sid": twilio.ACCOUNT_SID,
    "twilio_auth_token": twilio.AUTH_TOKEN,
    "resend_api_key": resend.API_KEY,
    "whatsapp_access_token": whatsapp.ACCESS_TOKEN,
    "loopdrive_webhook_secret": webhook.SECRET,
    "meta_access_token": meta.ACCESS_TOKEN,
    "google_access_token": google_ads.ACCESS_TOKEN,
    "openai_api_key": chat.API_KEY,
}
ACCOUNTS: dict[str, dict[str, str]] = {
    "whatsapp": {"phone_number_id": whatsapp.PHONE_NUMBER_ID, "template": whatsapp.TEMPLATE},
    "fcm": {"project_id": fcm.PROJECT_ID},
    "meta": {"pixel_id": meta.PIXEL_ID},
    "google": {
        "customer_id": google_ads.CUSTOMER_ID,
        "conversion_action_id": datamanager.CONVERSION_ACTION_ID,
    },
}


@dataclass(frozen=True)
class StandIns:
    """Running stand-ins: where they listen, what opens them, and their controls."""

    urls: dict[str, str]
    desk: Desk = field(repr=False)
    credentials: dict[str, str] = field(default_factory=CREDENTIALS.copy, repr=False)
    accounts: dict[str, dict[str, str]] = field(default_factory=ACCOUNTS.copy)

    def set_clock(self, at: datetime) -> None:
        """Set the time at which the stand-ins accept; they have no clock of their own."""
        self.desk.set_clock(at)

    def fail(
        self,
        provider: str,
        kind: FaultKind,
        times: int = 1,
        skip: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Script a fault: let `skip` requests pass, then fail the next `times`."""
        self.desk.fail(provider, Fault(kind, times, skip, seconds))

    def block(self, address: str) -> None:
        """Let vendors refuse an address: opted out (Twilio, WhatsApp), gone (FCM), blocked."""
        self.desk.blocked_addresses.add(address)

    @property
    def request_count(self) -> int:
        """Return how many requests reached any stand-in, refused ones included."""
        return sum(self.desk.counts.values())

    @property
    def request_counts(self) -> dict[str, int]:
        """Return the requests per stand-in."""
        return dict(self.desk.counts)


@contextmanager
def serve(workspace_home: Path, currency: str = "USD") -> Iterator[StandIns]:
    """Serve all stand-ins on one loopback port until the block ends.

    Logs go to <workspace_home>/sandbox; budgets and conversions of earlier runs are remembered.
    `currency` is that of the ad accounts (Meta counts in its minor units).
    """
    desk = Desk(workspace_home, currency)
    server = Server(desk)
    server.thread.start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    urls = {name: f"{base}/{name}" for name in STANDINS}
    urls["openai"] = f"{base}/openai/v1"
    try:
        yield StandIns(urls, desk)
    finally:
        server.stop()
        desk.close()
