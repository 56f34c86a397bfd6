"""The assets that judge policies: written once a week, repeated without a change, then followed.

Belongs here: ml/policy_evaluations and ml/bandit_posteriors over a warehouse. Keep out: the
estimators and the rule of promotion (`tests/ml`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from activations import programs
from dagster_project import evaluating, learning
from ml import bandit, policy_evaluation
from ml.cards import ModelCard
from tests.ml.test_policy_evaluation import logged
from warehouse import Warehouse

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
ARMS = programs.load("welcome").arm_names


@dataclass
class Held:
    """A workspace of one program, at a business time that the test sets."""

    warehouse: Warehouse
    as_of: datetime
    models: Path
    settings: SimpleNamespace


@pytest.fixture
def workspace(warehouse: Warehouse, tmp_path: Path) -> Held:
    rates = np.full((4, 2), 0.05)
    rates[0, 0] = rates[1, 1] = 0.3
    rows = logged(rates, 4000, 1)
    rows["arm"] = rows["arm"].map(dict(zip("abcd", ARMS, strict=False)))
    warehouse.execute(
        "insert into delivery.decisions (decision_id, as_of, program, person_id, opportunity_id,"
        " step, assignment, arm, propensity, candidates, verdicts, outcome, reason, model_versions)"
        " select 'd' || lpad(k::text, 6, '0'), %(at)s, 'welcome', 'q' || k, 'o' || k, 1, 'random',"
        " %(arm)s, 0.25, %(candidates)s::jsonb, '{}', 'send', 'chosen', '{}'"
        " from generate_series(0, 3999) as k",
        at=NOW - timedelta(days=9),
        arm=ARMS[0],
        candidates=pd.Series(0.25, index=ARMS[:4]).to_json(),
    )
    warehouse.execute("create schema if not exists marts")
    warehouse.execute(
        "create table marts.bandit_feedback (decision_id text, program text, arm text,"
        " propensity float8, reward float8, reward_so_far float8, reward_kind text,"
        " reward_from timestamptz, rewarded_at timestamptz, matured_at timestamptz,"
        " person_id text, persona_id text, assignment text, is_matured boolean,"
        " decided_at timestamptz)"
    )
    table = pa.Table.from_pandas(rows.drop(columns="candidates"), preserve_index=False)
    warehouse.append("marts.bandit_feedback", table)
    return Held(warehouse, NOW, tmp_path, SimpleNamespace(programs=["welcome"]))


def evaluated(held: Held) -> pd.DataFrame:
    cards = learning.frame(held, learning.CARDS)
    before = policy_evaluation.held(cards, held.as_of, inclusive=False)
    if policy_evaluation.due(before, evaluating.matured(held), held.as_of):
        evaluating.evaluate(held, before)
    return learning.frame(held, "ml.policy_evaluations")


def test_a_verdict_is_written_repeated_and_followed(workspace: Held) -> None:
    first = evaluated(workspace)
    assert set(first["policy"]) == {*policy_evaluation.LEARNERS, "random", "bau", "logged"}
    assert set(first["program"]) == {"welcome"}
    again = evaluated(workspace)
    order = list(evaluating.KEYS)
    pd.testing.assert_frame_equal(
        first.sort_values(order, ignore_index=True),
        again.sort_values(order, ignore_index=True),
        check_exact=True,
    )
    assert evaluating.learners(workspace) == {"welcome": bandit.Learner()}


def test_a_promotion_holds_on_the_same_day_again(workspace: Held) -> None:
    """The second run must judge against who was in force this morning, not its own verdict."""
    metrics = {"matured": 0, "current": {"welcome": "thompson_program"}, "programs": {}}
    held = ModelCard("policy", "0" * 16, NOW - timedelta(days=8), metrics, "passed", "before")
    learning.record(workspace, held, is_champion=True)
    assert evaluating.learners(workspace) == {"welcome": bandit.Learner(by_persona=False)}
    first = evaluated(workspace)
    assert evaluating.learners(workspace) == {"welcome": bandit.Learner()}
    again = evaluated(workspace)
    assert len(first) == len(again)
    champion = learning.frame(workspace, learning.CARDS).query("is_champion")
    assert len(champion) == 1
    assert "thompson in place of thompson_program" in champion["reason"].iloc[0]
    # A day later nothing is due: the figures and the verdict stand.
    workspace.as_of = NOW + timedelta(days=1)
    assert len(evaluated(workspace)) == len(first)
    assert evaluating.learners(workspace) == {"welcome": bandit.Learner()}
