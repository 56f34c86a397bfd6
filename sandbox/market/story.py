"""The market's story: founded once with a history, then lived day by day.

Belongs here: the order in which things happen and land. Does not belong here: why they happen.

A landing file holds what arrived in (previous as_of, as_of]; whatever is on its way waits in the
state. The state is saved after the files, so a crash between the two lives the same day again
and finds its own bytes.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import duckdb
import numpy as np
import pyarrow as pa

from sandbox.market import ads, crm, goods, hearing, life, population, rendering, sessions, truth
from sandbox.market import cards as cards_of
from sandbox.market.ads import AdDay
from sandbox.market.draws import generator
from sandbox.market.landing import land, packed_block, plain, table
from sandbox.market.world import World, load, save

# A flush of the history: about 90,000 events of 5,000 people, so memory stays below 500 MB.
FLUSH_DAYS: Final = 61


class Simulation(Protocol):
    """What the market needs to know of the settings."""

    @property
    def people(self) -> int: ...
    @property
    def days(self) -> int: ...
    @property
    def seed(self) -> int: ...


@dataclass
class _Period:
    """What happened since the last files were written."""

    told: sessions.Told = field(default_factory=sessions.Told)
    contacts: list[crm.Row] = field(default_factory=list)
    consents: list[crm.Row] = field(default_factory=list)
    goodbyes: list[crm.Row] = field(default_factory=list)
    spend: list[crm.Row] = field(default_factory=list)
    bought: list[tuple[int, AdDay]] = field(default_factory=list)


def truth_folder(workspace_home: Path) -> Path:
    """Return where the market's truth lies; nothing but the scorecard reads it."""
    return workspace_home / "truth"


def found(
    simulation: Simulation, workspace_home: Path, as_of: datetime, currency: str = "EUR"
) -> list[Path]:
    """Make the market and write its history up to `as_of`; a founded market stays as it is.

    Args:
        simulation: people (known at the end of the history, about), days of history, seed.
        workspace_home: folder of the workspace; files go to its `landing`, the state to
            `sandbox/state`, the truth to `truth`.
        as_of: end of the history.
        currency: the workspace's currency, of the catalogue, the rates and the ad accounts.

    Returns:
        The files written, none when the market was there already.
    """
    folder = workspace_home / "sandbox" / "state"
    if load(folder) is not None:
        return []
    truth.forget(truth_folder(workspace_home))
    epoch = as_of.astimezone(UTC) - timedelta(days=simulation.days)
    world, period = _first_day(simulation, epoch, currency)
    files: list[Path | None] = _standing_files(world, workspace_home, as_of)
    with ThreadPoolExecutor(max_workers=1) as packer:
        pending: list[Future[Path | None]] = []
        for day in range(simulation.days):
            _live_day(world, day, world.budgets, period)
            if (day + 1) % FLUSH_DAYS == 0 or day + 1 == simulation.days:
                end = world.day_start(day + 1)
                pending.append(_flush_events(world, workspace_home, period, end, packer))
                period.told = sessions.Told()
        files += [future.result() for future in pending]
    files += _flush_tables(world, workspace_home, period, "history", datetime.min, as_of)
    truth.write_people(world, truth_folder(workspace_home))
    world.told_until = as_of.astimezone(UTC)
    save(world, folder)
    return [path for path in files if path]


def live(
    simulation: Simulation, workspace_home: Path, as_of: datetime, currency: str = "EUR"
) -> list[Path]:
    """Live (previous as_of, as_of]: hear accepted messages, spend budgets, land the day's files.

    A day lived already is not lived again. Returns the files written.

    Raises:
        LandingError: a file of that day is there with other content.
    """
    folder = workspace_home / "sandbox" / "state"
    world = load(folder)
    if world is None:
        return found(simulation, workspace_home, as_of, currency)
    if as_of <= world.told_until:
        return []
    period = _Period()
    messages = hearing.accepted_after(
        workspace_home / "sandbox" / "accepted.jsonl", world.heard_messages
    )
    answers, heard, goodbyes = hearing.hear(world, messages)
    world.late_webhooks = sorted(world.late_webhooks + answers.webhooks)
    period.goodbyes = goodbyes
    budgets_file = workspace_home / "sandbox" / "budgets.json"
    while world.day_start(world.lived_days) < as_of:
        day = world.lived_days
        window = (world.day_start(day), world.day_start(day + 1))
        euros = goods.euro_rate(world.seed, world.currency, window[0].date())
        amounts, world.budgets = ads.budgets_in_force(
            budgets_file, world.budgets, *window, euros=euros
        )
        _live_day(world, day, amounts, period)
    since, name = world.told_until, _file_name(world, as_of)
    with ThreadPoolExecutor(max_workers=1) as packer:
        files = [_flush_events(world, workspace_home, period, as_of, packer, name).result()]
    files += _flush_tables(world, workspace_home, period, name, since, as_of)
    files.append(_flush_webhooks(world, workspace_home, name, as_of))
    truth.write_messages(truth_folder(workspace_home), name, heard)
    truth.write_people(world, truth_folder(workspace_home))
    world.told_until = as_of.astimezone(UTC)
    save(world, folder)
    return [path for path in files if path]


def _file_name(world: World, as_of: datetime) -> str:
    """Name a day's files by its date, and by the minute when it is not a whole day."""
    whole = as_of == world.day_start(world.lived_days) == world.told_until + timedelta(days=1)
    return f"{as_of:%Y-%m-%d}" if whole else f"{as_of.astimezone(UTC):%Y-%m-%dT%H%M}"


def _first_day(simulation: Simulation, epoch: datetime, currency: str) -> tuple[World, _Period]:
    """Return the world on the eve of its history, with the cards of its residents."""
    count = round(simulation.people * life.RESIDENT_SHARE)
    rng = generator(simulation.seed, "population", -1)
    people = population.residents(rng, count)
    population.households(rng, people, np.arange(count), first_row=0)
    scale = simulation.people / 5_000
    world = World(
        seed=simulation.seed,
        size=simulation.people,
        epoch=epoch,
        currency=currency,
        budgets=ads.starting_budgets(scale),
        people=people,
        cards=cards_of.issue(simulation.seed, 0, people, []),
    )
    start = epoch.timestamp()
    moments = start + people["signed_up_day"] * 86_400
    signups = list(zip(range(count), np.round(moments, 3).tolist(), strict=True))
    period = _Period()
    period.contacts = crm.contact_rows(world, signups)
    period.consents = crm.granted_rows(world, signups)
    period.told.signups = signups
    return world, period


def _live_day(world: World, day: int, budgets: ads.Budgets, period: _Period) -> None:
    visits, bought = life.spend_day(world, day, budgets)
    before = len(period.told.signups)
    sessions.tell_day(world, day, visits, period.told)
    fresh = period.told.signups[before:]
    period.contacts += crm.contact_rows(world, fresh) + crm.moved_rows(world, day)
    period.consents += crm.granted_rows(world, fresh) + crm.changed_rows(world, day)
    rate = 1.0 / goods.euro_rate(world.seed, world.currency, world.day_start(day).date())
    period.spend += crm.spend_rows(world, day, bought, rate)
    period.bought.append((day, bought))
    world.lived_days = day + 1


def _flush_events(
    world: World,
    home: Path,
    period: _Period,
    end: datetime,
    packer: ThreadPoolExecutor,
    name: str | None = None,
) -> "Future[Path | None]":
    """Write what was received until `end`; later lines wait. Spelling and packing the lines runs
    beside the market, which meanwhile lives on: what they read of it never changes."""
    events = period.told.events()
    readable = rendering.readable(world, period.told, events)
    label = name or f"history-{end:%Y-%m-%d}"
    folder = truth_folder(home)
    truth.write_identifiers(world, folder, label, period.told, events)
    truth.write_cards(world, folder, label, period.told.signups)
    truth.write_conversions(world, folder, label, period.told.facts)
    path = home / "landing" / "segment" / f"{label}.jsonl.gz"
    return packer.submit(_land_events, world, readable, end, path)


def _land_events(world: World, readable: pa.Table, end: datetime, path: Path) -> Path | None:
    with duckdb.connect(config={"threads": 2, "preserve_insertion_order": True}) as connection:
        lines = rendering.lines_of(connection, world, readable)
    until = round(end.timestamp() * 1000)
    # Lines lie in the order they were received.
    due = int(np.searchsorted(lines["received_ms"].to_numpy(), until, side="right"))
    waiting, lines = lines.slice(due), lines.slice(0, due)
    texts = [line + "\n" for at, line in world.late_lines if at * 1000 <= until]
    kept = [(at, line) for at, line in world.late_lines if at * 1000 > until]
    stamps = (np.array(waiting["received_ms"]) / 1000.0).tolist()
    bare = [line.rstrip("\n") for line in waiting["line"].to_pylist()]
    world.late_lines = sorted(kept + list(zip(stamps, bare, strict=True)))
    return land(path, packed_block(["".join(texts).encode(), *_bytes(lines["line"])]))


def _bytes(lines: pa.ChunkedArray) -> list[Any]:
    """Return the text of a column without copying it, one buffer a chunk."""
    buffers = []
    for chunk in lines.chunks:
        whole = pa.concat_arrays([chunk.cast(pa.large_string())])
        offsets = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset :][: len(whole) + 1]
        if len(whole):
            buffers.append(memoryview(whole.buffers()[2])[offsets[0] : offsets[-1]])
    return buffers


def _standing_files(world: World, home: Path, as_of: datetime) -> list[Path | None]:
    rows = goods.product_rows(world.seed, world.currency)
    return [land(home / "landing" / "products" / "history.csv", table(crm.PRODUCT_COLUMNS, rows))]


def _flush_tables(
    world: World, home: Path, period: _Period, name: str, since: datetime, as_of: datetime
) -> list[Path | None]:
    """Write the period's CSV files and the truth that belongs to them."""
    landing, folder = home / "landing", truth_folder(home)
    first_time = since == datetime.min
    start = world.epoch if first_time else since
    first = start.date() if first_time else start.date() + timedelta(days=1)
    until = as_of.timestamp()
    rates = goods.rate_rows(world.seed, world.currency, first, as_of.date())
    contacts, world.late_contacts = crm.recorded_until(
        world.late_contacts + period.contacts, "updated_at", until
    )
    consents, world.late_consents = crm.recorded_until(
        world.late_consents + period.consents, "recorded_at", until
    )
    deals = crm.deal_rows(world, float("-inf") if first_time else since.timestamp(), until)
    truth.write_consents(folder, name, consents, float("-inf") if first_time else until)
    truth.write_consents(folder, f"{name}-goodbyes", period.goodbyes, until)
    truth.write_ads(world, folder, name, period.bought)
    contents = {
        "crm_contacts": table(crm.CONTACT_COLUMNS, contacts),
        "crm_consents": table(crm.CONSENT_COLUMNS, consents),
        "crm_deals": table(crm.DEAL_COLUMNS, deals),
        "ad_spend": table(crm.SPEND_COLUMNS, period.spend),
        "currency_rates": table(crm.RATE_COLUMNS, rates),
    }
    return [land(landing / kind / f"{name}.csv", text) for kind, text in contents.items()]


def _flush_webhooks(world: World, home: Path, name: str, as_of: datetime) -> Path | None:
    until = as_of.timestamp()
    due = [line for at, line in world.late_webhooks if at <= until]
    world.late_webhooks = [entry for entry in world.late_webhooks if entry[0] > until]
    return land(home / "landing" / "provider_events" / f"{name}.jsonl", plain(due))
