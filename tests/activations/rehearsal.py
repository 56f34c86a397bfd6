"""A planned world that a dispatcher process sends, and that can be put back as it was.

Belongs here: the scene of the fault tests: a database, stand-ins, proxies, a dispatcher.
Keep out: assertions about one fault.
"""

import json
import time
from collections import Counter as Counts
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from activations import audit, dispatch, http, wallet
from activations.providers import provider
from sandbox.standins import CREDENTIALS, StandIns
from tests.activations.dispatchers import Nursery
from tests.activations.proxies import Counter, Fault
from tests.activations.sending import MORNING
from tests.activations.world import World

SAVE = """
    create table kept_messages as select * from delivery.messages;
    create table kept_entries as select entry_id from delivery.wallet_entries;
    create table kept_audit as select max(sequence) as sequence from delivery.audit_log;
"""
RESTORE = """
    delete from delivery.send_attempts;
    delete from delivery.provider_pauses;
    delete from delivery.wallet_entries where entry_id not in (select entry_id from kept_entries);
    delete from delivery.audit_log where sequence > (select sequence from kept_audit);
    update delivery.messages as held
    set
        status = kept.status, reason = kept.reason, sent_at = null, batch_key = null,
        provider_message_id = null, leased_by = null, lease_expires_at = null, attempt_count = 0,
        next_attempt_at = null, send_at = kept.send_at
    from kept_messages as kept
    where held.message_key = kept.message_key
"""


@dataclass
class Scene:
    """Everything between the plan and the vendor."""

    world: World
    nursery: Nursery
    counter: Counter
    database_url: str
    vendor: str
    vendor_url: str
    proxied_url: str
    standins: StandIns

    def save(self) -> None:
        """Remember the plan."""
        self.world.warehouse.execute(SAVE)

    def restore(self) -> None:
        """Back to the plan; the vendor forgets."""
        deadline = time.monotonic() + 5
        while self._sessions() and time.monotonic() < deadline:
            time.sleep(0.005)
        self.world.warehouse.execute(RESTORE)
        self.standins.desk.close()
        for name in ("accepted.jsonl", "keys.jsonl"):
            (self.standins.desk.folder / name).unlink(missing_ok=True)
        self.standins.desk._keys = None

    def run(self, at: int | None, fault: Fault = "kill") -> int:
        """One dispatcher at MORNING, with a fault at an exchange; returns how it ended."""
        self.counter.reset(at, fault)
        self.counter.pid = self.start()
        return self.nursery.wait()[0]

    def start(self) -> int:
        """A dispatcher at MORNING behind the proxies; returns its process id."""
        return self.nursery.start(self.database_url, self.vendor, self.proxied_url, MORNING)

    def play_on(self, now: datetime, until: timedelta = timedelta(hours=12)) -> None:
        """Send at every later moment at which there is something to do."""
        with http.open_client("sandbox") as client:
            dispatch.send_until(
                self.world.warehouse, now, now + until, self.adapter(),
                partial(http.send, client), self.standins.set_clock,
            )  # fmt: skip

    def adapter(self) -> Any:
        """The vendor's adapter, aimed past the proxies."""
        return provider(self.vendor, CREDENTIALS, self.vendor_url)

    @property
    def delivered(self) -> Counts[str]:
        """How often the vendor took each message."""
        path = self.standins.desk.folder / "accepted.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counts(json.loads(line)["message_key"] for line in lines)

    def statuses(self) -> dict[str, str]:
        """Status by message."""
        rows = self.world.warehouse.rows("select message_key, status from delivery.messages")
        return {row["message_key"]: row["status"] for row in rows}

    def broken_promises(self) -> list[str]:
        """What no fault may do, whatever it was; empty when all is well."""
        taken, statuses, wrong = self.delivered, self.statuses(), []
        if taken and max(taken.values()) > 1:
            wrong.append("a message went out twice")
        open_ones = {"planned", "reserved", "sending"} & set(statuses.values())
        if open_ones:
            wrong.append(f"messages stay {sorted(open_ones)}")
        lost = [key for key, status in statuses.items() if status == "accepted" and not taken[key]]
        if lost:
            wrong.append("a message counts as accepted that the vendor never saw")
        hidden = [key for key in taken if statuses[key] not in ("accepted", "unknown")]
        if hidden:
            wrong.append("the vendor has a message of which we say that it did not go")
        if not audit.verify(self.world.warehouse).is_intact:
            wrong.append("the audit chain is broken")
        if wallet.imbalances(self.world.warehouse):
            wrong.append("the books do not balance")
        return wrong

    def _sessions(self) -> int:
        name = urlsplit(self.database_url).path.lstrip("/")
        (row,) = self.world.warehouse.rows(
            "select count(*) as n from pg_stat_activity"
            " where datname = %(name)s and application_name like 'dispatcher-%%'",
            name=name,
        )
        return int(row["n"])
