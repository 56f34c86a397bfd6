"""The scorecard gives the right number for loops that are perfect, blind or careless."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from activations import programs
from sandbox import market, measures, scorecard
from sandbox.market import effects
from sandbox.market.world import load
from tests.sandbox.test_market import AS_OF, Simulation

DDL = """
create schema if not exists marts;
create table identity.person_identifiers (
    person_id text, identifier_type text, identifier_value text);
create table marts.lifecycle_stages (person_id text, stage text, since_at timestamptz);
create table marts.attributed_touchpoints (
    model text, conversion_id text, channel text, credit_share numeric);
"""


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("market")
    market.found(Simulation(people=200, days=40), home, AS_OF)
    return home


@pytest.fixture
def home(founded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(founded, tmp_path / "home"))


def _owned(home: Path) -> list[tuple[int, str, str]]:
    rows = pq.read_table(home / "truth" / "identifiers").to_pylist()
    keys = ("person", "identifier_type", "identifier_value")
    return sorted({tuple(row[key] for key in keys) for row in rows})


def _identify(warehouse, rows: list[tuple[str, str, str]]) -> None:
    warehouse.execute(DDL)
    unique = {(kind, value): person for person, kind, value in rows}
    table = pa.table(
        {
            "person_id": list(unique.values()),
            "identifier_type": [key[0] for key in unique],
            "identifier_value": [key[1] for key in unique],
        }
    )
    warehouse.append("identity.person_identifiers", table)


def _resolved(home: Path) -> list[tuple[str, str, str]]:
    return [(f"p{person}", kind, value) for person, kind, value in _owned(home)]


def _truth(home: Path, name: str) -> list[dict]:
    return pq.read_table(home / "truth" / name).to_pylist()


def test_a_card_without_tables_is_null_with_reasons(warehouse, home):
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert set(card) == {*scorecard.KEYS, "refused"}
    assert all(card[name] is None for name in scorecard.KEYS)
    assert set(card["refused"]) == set(scorecard.KEYS)
    assert "identity.person_identifiers is not there" in card["refused"]["identity_precision"]
    assert "nothing to score" in card["refused"]["churn_auc"]


def test_true_identities_score_one_and_blunders_are_seen(warehouse, home):
    _identify(warehouse, _resolved(home))
    card = scorecard.score(warehouse, home / "truth", AS_OF, audit_chain_intact=lambda: True)
    assert card["identity_precision"] == 1.0
    assert card["identity_recall"] == 1.0
    assert card["identity_unique_violations"] == 0
    assert card["audit_chain_intact"] is True
    warehouse.execute("update identity.person_identifiers set person_id = 'one' "
                      "where person_id in ('p1', 'p2', 'p3')")  # fmt: skip
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["identity_precision"] < 1.0
    assert card["identity_recall"] == 1.0
    assert card["identity_unique_violations"] == 1
    warehouse.execute("update identity.person_identifiers set person_id = person_id || "
                      "identifier_value where identifier_type = 'anonymous_id'")  # fmt: skip
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["identity_recall"] < 0.95


def test_a_loop_that_knows_the_churn_reaches_the_ceiling(warehouse, home):
    _identify(warehouse, _resolved(home))
    truth = _truth(home, "churn")
    scores = pa.table(
        {
            "person_id": [f"p{row['person']}" for row in truth],
            "as_of": pa.array([AS_OF] * len(truth), pa.timestamp("us", tz="UTC")),
            "churn_probability": [row["no_order_60d_probability"] for row in truth],
            "reasons": ["[]"] * len(truth),
            "model_version": ["1"] * len(truth),
        }
    )
    warehouse.append("ml.churn_scores", scores)
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["churn_auc"] == card["churn_auc_of_truth"] > 0.75
    assert card["churn_calibration_error"] < 1e-6
    warehouse.execute("update ml.churn_scores set churn_probability = 0.5")
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["churn_auc"] == 0.5
    assert card["churn_calibration_error"] > 0.05


def test_stages_are_compared_with_what_people_really_are(warehouse, home):
    _identify(warehouse, _resolved(home))
    truth = _truth(home, "churn")
    stages = pa.table(
        {
            "person_id": [f"p{row['person']}" for row in truth],
            "stage": [row["stage"] for row in truth],
            "since_at": pa.array([AS_OF] * len(truth), pa.timestamp("us", tz="UTC")),
        }
    )
    warehouse.append("marts.lifecycle_stages", stages)
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["lifecycle_stage_accuracy"] == 1.0
    # Somebody seen once more under a cookie of their own is still one person.
    lost = "select min(identifier_value) from identity.person_identifiers"
    lost += " where identifier_type = 'anonymous_id' and person_id in (select person_id"
    lost += " from identity.person_identifiers group by 1 having count(*) > 2)"
    warehouse.execute(f"update identity.person_identifiers set person_id = 'lost'"
                      f" where identifier_value = ({lost})")  # fmt: skip
    warehouse.execute("insert into marts.lifecycle_stages values ('lost', 'none', now())")
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["lifecycle_stage_accuracy"] == 1.0
    warehouse.execute("update marts.lifecycle_stages set stage = 'active'")
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    active = np.mean([row["stage"] == "active" for row in truth])
    assert card["lifecycle_stage_accuracy"] == pytest.approx(active, abs=0.05)


@pytest.mark.parametrize("knows", [True, False])
def test_send_time_share_is_one_for_the_oracle_only(warehouse, home, knows):
    _identify(warehouse, _resolved(home))
    hours = _truth(home, "hours.parquet")
    best = []
    for row in hours:
        taste = np.array(row["tastes"])
        clock = np.arange(168) % 24
        taste[(clock < 8) | (clock >= 21)] = -1
        best.append(int(np.argmax(taste)) if knows else 10)
    table = pa.table(
        {
            "person_id": [f"p{row['person']}" for row in hours],
            "channel": ["email"] * len(hours),
            "probabilities": pa.array([[1 / 168] * 168] * len(hours), pa.list_(pa.float32())),
            "best_hour_of_week": pa.array(best, pa.int32()),
            "model_version": ["1"] * len(hours),
        }
    )
    warehouse.append("ml.send_times", table)
    share = scorecard.score(warehouse, home / "truth", AS_OF)["send_time_reward_share_of_oracle"]
    assert share == pytest.approx(1.0) if knows else share < 0.8


def _decide(warehouse, home: Path, share) -> None:
    people = pq.read_table(home / "truth" / "people.parquet")
    columns = {name: people[name].to_numpy() for name in people.column_names if name not in (
        "user_id", "contact_id", "time_zone")}  # fmt: skip
    rows = np.arange(people.num_rows)
    traits = effects.traits_of(columns, rows)
    arms = programs.load("win_back").arm_names
    values = np.stack([effects.conversion_probability(traits, "win_back", a) for a in arms], 1)
    at = AS_OF - timedelta(days=9)
    for row in rows.tolist():
        shares = share(values[row])
        warehouse.execute(
            "insert into delivery.decisions values (%(id)s, %(at)s, 'win_back', %(person)s,"
            " %(id)s, 1, 'policy', %(arm)s, 0.5, %(options)s, '{}', 'send', 'chosen', '{}')",
            id=f"d{row}",
            at=at,
            person=f"p{people['person'][row].as_py()}",
            arm=arms[int(np.argmax(shares))],
            options=json.dumps(dict(zip(arms, shares.tolist(), strict=True))),
        )


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (lambda values: np.eye(len(values))[int(np.argmax(values))], 1.0),
        (lambda values: np.full(len(values), 1 / len(values)), 0.0),
    ],
    ids=["oracle", "random"],
)
def test_policy_gain_is_one_for_the_oracle_and_none_for_chance(warehouse, home, share, expected):
    _identify(warehouse, _resolved(home))
    _decide(warehouse, home, share)
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["policy_gain_share"] == pytest.approx(expected, abs=1e-5)


def test_attribution_error_is_nil_for_the_true_cause(warehouse, home):
    _identify(warehouse, _resolved(home))
    orders = _truth(home, "conversions")
    for model, channel in (("linear", None), ("last_touch", "paid_search")):
        table = pa.table(
            {
                "model": [model] * len(orders),
                "conversion_id": [row["order_id"] for row in orders],
                "channel": [channel or row["cause"] for row in orders],
                "credit_share": [1.0] * len(orders),
            }
        )
        warehouse.append("marts.attributed_touchpoints", table)
    errors = scorecard.score(warehouse, home / "truth", AS_OF)["attribution_error_by_model"]
    assert errors["linear"] == pytest.approx(0.0, abs=1e-9)
    assert errors["last_touch"] > 0.5


def _message(warehouse, key: str, opportunity: str, status: str, expires_at: datetime) -> None:
    warehouse.execute(
        "insert into delivery.decisions values (%(id)s, %(at)s, 'welcome', 'p', %(op)s, %(step)s,"
        " 'policy', 'email_none_greeting', 1, '{}', '{}', 'send', 'chosen', '{}')",
        id=f"d-{key}", at=AS_OF, op=opportunity, step=1,
    )  # fmt: skip
    warehouse.execute(
        "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
        " provider, status, variant_id, content_hash, send_at, expires_at, address_hash)"
        " values (%(key)s, %(id)s, 'welcome', 'p', 'email', 'sendgrid', %(status)s, 'v', 'h',"
        " %(at)s, %(expires)s, 'a')",
        key=key, id=f"d-{key}", status=status, at=AS_OF, expires=expires_at,
    )  # fmt: skip


def test_duplicates_losses_consent_and_quiet_hours_are_counted(warehouse, home):
    _identify(warehouse, _resolved(home))
    state = load(home / "sandbox" / "state")
    emails = [card["email"] for card in state.cards]
    london = [
        row
        for row, card in enumerate(state.cards)
        if card["country"] == "GB" and card["email"] == card["crm_email"]
        and emails.count(card["email"]) == 1
    ]  # fmt: skip
    agreed = next(state.cards[row] for row in london if state.people["email_ok"][row])
    refused = next(state.cards[row] for row in london if not state.people["email_ok"][row])
    noon, night = AS_OF.replace(hour=12), AS_OF.replace(hour=23)
    log = [("k1", agreed, noon), ("k1", agreed, noon), ("k2", refused, noon), ("k3", agreed, night)]
    with (home / "sandbox" / "accepted.jsonl").open("w") as lines:
        for key, card, at in log:
            row = {"message_key": key, "channel": "email", "address": card["email"],
                   "program": "welcome", "arm": "email_none_greeting",
                   "accepted_at": at.isoformat()}  # fmt: skip
            lines.write(json.dumps(row) + "\n")
    later = AS_OF + timedelta(days=5)
    for key, opportunity, status, expires_at in (
        ("k1", "o1", "accepted", later),
        ("k2", "o2", "delivered", later),
        ("k3", "o3", "accepted", later),
        ("k4", "o4", "accepted", later),  # the provider never heard of it
        ("k5", "o5", "reserved", AS_OF - timedelta(days=1)),  # forgotten
        ("k6", "o6", "planned", later),  # still to come
    ):
        _message(warehouse, key, opportunity, status, expires_at)
    card = scorecard.score(warehouse, home / "truth", AS_OF)
    assert card["duplicate_messages"] == 1
    assert card["lost_messages"] == 2
    assert card["messages_without_consent"] == 1
    assert card["messages_in_quiet_hours"] == 1


def test_soft_auc_equals_the_mean_of_sampled_aucs():
    rng = np.random.default_rng(3)
    true = rng.beta(0.6, 0.8, 400)
    scores = np.round(np.clip(true + rng.normal(0, 0.3, 400), 0, 1), 1)
    sampled = []
    for _ in range(300):
        label = rng.random(400) < true
        up, down = scores[label], scores[~label]
        wins = (up[:, None] > down).mean() + 0.5 * (up[:, None] == down).mean()
        sampled.append(wins)
    assert measures.soft_auc(scores, true) == pytest.approx(np.mean(sampled), abs=0.006)


def test_pairwise_counts_pairs():
    precision, recall = measures.pairwise(["a", "a", "a", "b"], [1, 1, 2, 2])
    assert (precision, recall) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert measures.pairwise(["a", "b"], [1, 2]) == (None, None)


def test_calibration_error_of_a_shifted_score_is_the_shift():
    true = np.linspace(0.05, 0.75, 500)
    assert measures.calibration_error(true + 0.2, true) == pytest.approx(0.2)
    assert AS_OF.tzinfo is UTC
