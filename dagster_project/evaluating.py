"""Policies on trial: reading logged decisions, recording the verdict, and who is in force.

Belongs here: joining feedback with the arms that were eligible, writing evaluations and cards.
Keep out: estimators, candidates and the rule of promotion (`ml.policy_evaluation`).
"""

from typing import Any

import pyarrow as pa

from activations import programs
from dagster_project import learning
from dagster_project.resources import Workspace
from ml import policy_evaluation
from ml.bandit import Learner
from ml.cards import ModelCard
from ml.policy_evaluation import Evaluated, Program

TABLE = "ml.policy_evaluations"
KEYS = ("program", "policy", "estimator", "evaluated_at")


def matured(workspace: Workspace) -> int:
    """How many decisions have matured: a day without news reads no more than this."""
    rows = workspace.warehouse.rows(
        "select count(*) filter (where is_matured) as matured from marts.bandit_feedback"
    )
    return int(rows[0]["matured"])


def evaluate(workspace: Workspace, before: ModelCard | None) -> Evaluated:
    """Value the candidates against those in force `before` today, and write what was found."""
    feedback = learning.frame(workspace, "marts.bandit_feedback")
    options = workspace.warehouse.read(
        "select decision_id, candidates::text as candidates from delivery.decisions"
        " where outcome = 'send'"
    ).to_pandas()
    loaded = {
        one.program: Program(one.arm_names, one.bau, one.exploration.floor_share)
        for one in programs.load_all(workspace.settings.programs)
    }
    found = policy_evaluation.evaluate(
        feedback.merge(options, on="decision_id"),
        loaded,
        workspace.as_of,
        policy_evaluation.current(before),
    )
    is_finished = found.card.gate == "passed"
    learning.record(workspace, found.card, is_champion=is_finished)
    if is_finished:
        rows = pa.Table.from_pandas(found.frame, preserve_index=False)
        workspace.warehouse.upsert(TABLE, rows, KEYS)
    return found


def learners(workspace: Workspace) -> dict[str, Learner]:
    """How each program learns today, by the last verdict."""
    cards = learning.frame(workspace, learning.CARDS)
    return policy_evaluation.learners(
        policy_evaluation.held(cards, workspace.as_of, inclusive=True)
    )


def unchanged(before: ModelCard | None) -> dict[str, Any]:
    """Metadata of a day on which nothing is due: the verdict that stands."""
    if before is None:
        return {"reason": "nothing has matured yet"}
    return {"reason": f"as of {before.as_of:%Y-%m-%d}: {before.reason}"}
