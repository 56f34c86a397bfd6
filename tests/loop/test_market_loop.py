"""The whole loop on a small simulated market: three days, the second and third learning.

Belongs here: promises that only the loop as a whole can keep. Keep out: parts that a room's own
tests cover, and playing the same day again (`test_same_day_again.py`).
"""

import gzip
from collections import Counter

import psycopg
import pytest

from activations import audit
from dagster_project import loop, providers
from dagster_project.cli.stages import GROUPS, assets_of
from tests.loop.playing import Home, adopted, relations
from tests.loop.searching import addresses, found_in

pytestmark = pytest.mark.timeout(900)
BEHIND_THE_WALL = {
    "ml.identity_verdicts",
    "ml.identity_clusters",
    "ml.identity_moves",
    "delivery.payloads",
}
OPEN = ("marts", "features", "ml", "activation", "delivery")
CLOSED = ("raw", "staging", "identity")
RAW_TABLES = {
    "segment": "events", "crm_contacts": "crm_contacts", "crm_consents": "crm_consents",
    "crm_deals": "crm_deals", "products": "products", "ad_spend": "ad_spend",
    "currency_rates": "currency_rates", "provider_events": "provider_events",
}  # fmt: skip


@pytest.fixture(scope="module")
def scores(market: Home) -> dict:
    with adopted(market.settings):
        return providers.score(market.settings, market.warehouse, market.last)


def test_batches_account_for_every_line_of_every_file(market):
    batches = market.warehouse.rows(
        "select source, location, status, rows_read, rows_loaded, rows_duplicate, rows_rejected"
        " from raw.batches order by batch_id"
    )
    files = {str(path) for path in market.settings.landing.rglob("*.*") if path.is_file()}
    lines = {path: _lines(path) for path in files}
    assert {row["status"] for row in batches} == {"loaded"}
    read = {row["location"]: row["rows_read"] for row in batches}
    assert read == {path: count for path, count in lines.items() if path in read}
    assert all(lines[path] == 0 for path in files - set(read)), "a file with rows was not read"
    for row in batches:
        parts = row["rows_loaded"] + row["rows_duplicate"] + row["rows_rejected"]
        assert row["rows_read"] == parts, row


@pytest.mark.parametrize(("source", "table"), RAW_TABLES.items())
def test_loaded_rows_are_in_their_table_and_rejected_ones_in_rejects(market, source, table):
    found = market.warehouse.rows(
        f"select (select count(*) from raw.{table}) as rows,"
        " (select count(*) from raw.rejects where source = %(source)s) as rejects,"
        " sum(rows_loaded) as loaded, sum(rows_rejected) as rejected"
        " from raw.batches where source = %(source)s",
        source=source,
    )[0]
    assert found["rows"] == found["loaded"] > 0
    assert found["rejects"] == found["rejected"]


def test_persons_are_resolved_as_they_truly_are(market, scores):
    assert scores["identity_precision"] >= 0.99
    assert scores["identity_recall"] >= 0.9
    assert scores["identity_unique_violations"] == 0
    loose = market.warehouse.rows(
        "select count(*) as n from marts.sessions"
        " where person_id not in (select person_id from identity.persons)"
    )
    assert loose[0]["n"] == 0


def test_every_decision_has_verdicts_and_a_propensity_that_can_be_divided_by(market):
    decisions = market.warehouse.rows("select * from delivery.decisions")
    assert {row["as_of"] for row in decisions} == set(market.planned(3))
    for row in decisions:
        assert row["verdicts"], row["decision_id"]
        if row["outcome"] == "silence":
            assert row["arm"] is None
            continue
        assert 0 < row["propensity"] <= 1
        assert row["verdicts"][row["arm"]] == [], "an arm was chosen that a guardrail forbade"
        assert row["candidates"][row["arm"]] == pytest.approx(row["propensity"])
        assert sum(row["candidates"].values()) == pytest.approx(1)
        eligible = {arm for arm, reasons in row["verdicts"].items() if not reasons}
        assert set(row["candidates"]) == eligible
        if row["assignment"] in ("policy", "random"):
            assert min(row["candidates"].values()) > 0, "an arm that is never tried"


def test_every_opportunity_of_the_day_was_decided(market):
    for program in market.settings.programs:
        undecided = market.warehouse.rows(
            f"select opportunity_id from activation.act_{program} as audience"
            " where not exists (select from delivery.decisions where program = %(program)s"
            " and decisions.opportunity_id = audience.opportunity_id)",
            program=program,
        )
        assert undecided == []


def test_the_policy_learned_from_the_days_before(market):
    """Pending or matured: every message of the first two days is evidence on the third."""
    learned = market.warehouse.rows(
        "select program, arm, matured_count + pending_count as evidence"
        " from ml.bandit_posteriors where persona_id is null and matured_count + pending_count > 0"
    )
    said = market.warehouse.rows(
        "select program, arm, count(*) as evidence from delivery.decisions"
        " join delivery.messages using (decision_id, program)"
        " where outcome = 'send' and as_of < %(last)s and sent_at <= %(last)s"
        " group by program, arm",
        last=market.last,
    )
    assert sum(row["evidence"] for row in said) > 3
    assert _counted(learned) == _counted(said)


def test_answers_of_one_day_are_heard_on_the_next(market):
    heard = market.warehouse.rows(
        "select type, count(*) as n from raw.provider_events"
        " join delivery.messages using (message_key)"
        " where occurred_at > sent_at and received_at <= %(last)s group by type",
        last=market.last,
    )
    assert {"processed", "delivered"} <= {row["type"] for row in heard}
    settled = market.warehouse.rows(
        "select message_key from delivery.messages where sent_at < %(last)s and status not in"
        " ('delivered', 'failed', 'skipped')"
        " and message_key in (select message_key from raw.provider_events where type in"
        " ('delivered', 'bounce') and occurred_at < %(last)s)",
        last=market.last,
    )
    assert settled == []


def test_each_decision_to_send_became_one_message_and_silences_none(market):
    rows = market.warehouse.rows(
        "select outcome, count(*) as decisions, count(message_key) as messages,"
        " count(distinct message_key) as keys from delivery.decisions"
        " left join delivery.messages using (decision_id) group by outcome"
    )
    found = {row["outcome"]: row for row in rows}
    assert found["send"]["decisions"] == found["send"]["messages"] == found["send"]["keys"] > 5
    assert found["silence"]["messages"] == 0


def test_the_providers_accepted_what_the_outbox_says_and_nothing_twice(market, scores):
    accepted = market.logged("accepted")
    keys = Counter(row["message_key"] for row in accepted)
    sent = market.warehouse.rows(
        "select message_key, provider_message_id from delivery.messages where sent_at is not null"
    )
    assert set(keys) == {row["message_key"] for row in sent}
    assert max(keys.values()) == 1
    # SendGrid answers one id for a request; each message of it has a number after the point.
    numbers = {row["message_key"]: row["provider_message_id"].split(".")[0] for row in accepted}
    assert numbers == {row["message_key"]: row["provider_message_id"] for row in sent}
    assert scores["duplicate_messages"] == scores["lost_messages"] == 0


def test_a_message_leaves_at_its_own_time_before_the_next_business_time(market):
    late = market.warehouse.rows(
        "select message_key from delivery.messages join delivery.decisions using (decision_id)"
        " where sent_at is not null and (sent_at < send_at or sent_at <= as_of"
        " or sent_at > expires_at)"
    )
    waiting = market.warehouse.rows(
        "select message_key from delivery.messages"
        " where status in ('planned', 'reserved', 'sending') and send_at < %(end)s",
        end=market.last,
    )
    assert late == waiting == []


def test_nobody_heard_without_consent_or_at_night(market, scores):
    assert len(market.logged("accepted")) > 5
    assert scores["messages_without_consent"] == 0
    assert scores["messages_in_quiet_hours"] == 0


def test_budgets_are_confirmed_by_the_platform_or_refused_with_a_reason(market):
    plans = market.warehouse.rows("select status, reason from delivery.budget_plans")
    cards = market.warehouse.rows("select gate, reason from ml.model_cards where model = 'budget'")
    # A market of 300 spends about a pound a day on a campaign: below the least that Google
    # (BELOW_PER_DAY_MINIMUM) and Meta (100, an invalid parameter) take.
    failed = [row["reason"] for row in plans if row["status"] == "failed"]
    assert {row["status"] for row in plans} <= {"confirmed", "failed"}
    refused = tuple(f"; platform: permanent {code}" for code in ("BELOW_PER_DAY_MINIMUM", "100"))
    assert all(reason.endswith(refused) for reason in failed), failed
    assert len(cards) == 3
    assert all(row["reason"] for row in cards)
    assert bool(plans) == any(row["gate"] == "passed" for row in cards)


def test_every_conversion_is_uploaded_or_skipped_with_a_reason(market):
    rows = market.warehouse.rows(
        "select platform, conversion_id, event_id, status, diagnostics ->> 'reason' as reason,"
        " uploaded_at from delivery.conversion_uploads"
    )
    assert {row["status"] for row in rows} == {"uploaded", "skipped"}
    assert {row["platform"] for row in rows} == {"meta", "google"}
    assert all(row["reason"] for row in rows if row["status"] == "skipped")
    taken = Counter((row["platform"], row["dedup_key"]) for row in market.logged("conversions"))
    assert len(taken) == sum(row["status"] == "uploaded" for row in rows)
    assert max(taken.values()) == 1
    forgotten = market.warehouse.rows(
        "select conversion_id from activation.conversion_candidates where conversion_id not in"
        " (select conversion_id from delivery.conversion_uploads)"
    )
    assert forgotten == []


def test_the_wallet_sums_to_zero_in_every_transaction(market):
    sums = market.warehouse.rows(
        "select transaction_id, count(*) as entries, sum(amount_minor) as total"
        " from delivery.wallet_entries group by transaction_id, currency"
    )
    assert sums
    assert {row["total"] for row in sums} == {0}
    assert min(row["entries"] for row in sums) >= 2


def test_the_audit_chain_is_intact_and_covers_what_was_done(market):
    verdict = audit.verify(market.warehouse)
    assert verdict.is_intact
    entries = market.warehouse.rows("select subject from delivery.audit_log")
    assert verdict.entries == len(entries)
    covered = {row["subject"].split("/")[0].split(":")[0] for row in entries}
    assert covered >= {"decisions", "messages", "attempts", "wallet", "conversions"}, covered


@pytest.mark.parametrize("stage", [*GROUPS, "ingest"])
def test_every_stage_can_be_run_by_itself(market, stage):
    with adopted(market.settings):
        job = loop.definitions().resolve_job_def("daily_loop")
    keys = assets_of(job, GROUPS.get(stage, ("raw", "settle")))
    subset = job.get_subset(asset_selection=frozenset(keys))
    assert set(subset.asset_layer.selected_asset_keys) == set(keys) != set()


def test_the_analyst_reads_everything_but_what_is_behind_the_wall(market):
    warehouse = market.warehouse
    closed = {*relations(warehouse, CLOSED), *BEHIND_THE_WALL}
    for table in relations(warehouse):
        if table in closed:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                warehouse.query_as_analyst(f"select * from {table} limit 1")
        else:
            warehouse.query_as_analyst(f"select * from {table} limit 1")


def test_no_address_of_anybody_is_outside_the_wall(market):
    known = addresses(market)
    warehouse = market.warehouse
    assert len(found_in(_rows(warehouse, "raw.events"), known)) > 50, "the search finds nothing"
    for table in relations(warehouse, OPEN):
        if table not in BEHIND_THE_WALL:
            assert found_in(_rows(warehouse, table), known) == set(), table


def test_no_address_of_anybody_is_in_the_record_of_the_runs(market):
    known = addresses(market)
    for day in market.days:
        entries = market.instance.all_logs(day.run_id)
        assert len(entries) > 100
        assert found_in((str(entry) for entry in entries), known) == set()


def test_no_address_of_anybody_is_in_the_files_beside_the_database(market):
    known = addresses(market)
    home = market.settings.workspace_home
    world = [home / name for name in ("landing", "sandbox", "truth")]
    files = [
        path
        for path in home.rglob("*")
        if path.is_file() and not any(path.is_relative_to(folder) for folder in world)
    ]
    assert files
    for path in files:
        text = path.read_bytes().decode("utf-8", errors="replace")
        assert found_in([text], known) == set(), path.name


def _lines(path: str) -> int:
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rb") as file:
        count = sum(1 for line in file if line.strip())
    return count - 1 if path.endswith(".csv") and count else count


def _counted(rows: list[dict]) -> dict[tuple[str, str], int]:
    return {(row["program"], row["arm"]): row["evidence"] for row in rows}


def _rows(warehouse, table: str) -> list[str]:
    return [row["line"] for row in warehouse.rows(f"select t::text as line from {table} as t")]
