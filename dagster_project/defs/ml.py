"""ml/*: read features, call one model, write its table, show its card.

Keep out: what a model does (`ml/`), who is champion (`learning.py`).
"""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg
import pandas as pd

from activations import programs
from dagster_project import evaluating, learning
from dagster_project.resources import Workspace
from ml import bandit, churn, lifetime_value, personas, plots, policy_evaluation, send_time
from ml.cards import Refusal

KINDS = {"python", "postgres"}


@dg.asset(
    key=["ml", "churn_scores"],
    group_name="ml",
    kinds=KINDS,
    deps=[["features", "person_features"], ["features", "churn_labels"]],
)
def churn_scores(workspace: Workspace) -> dg.MaterializeResult:
    """Probability that a buyer does not come back within the churn window, with reasons."""

    def train(at: datetime) -> churn.Fitted | Refusal:
        snapshots = learning.frame(workspace, "features.person_features")
        return churn.fit(snapshots, learning.frame(workspace, "features.churn_labels"), at)

    learned = learning.learn(workspace, churn.MODEL, train, plots.of_churn)
    shown = learned.metadata()
    if learned.champion is not None:
        buyers = _features_today(workspace, "order_count >= 1")
        scores = churn.score(learned.champion, buyers, workspace.as_of)
        shown["dagster/row_count"] = learning.write(workspace, "ml.churn_scores", scores)
    return dg.MaterializeResult(metadata=shown)


@dg.asset(
    key=["ml", "lifetime_values"],
    group_name="ml",
    kinds=KINDS,
    deps=[["features", "person_rfm"], ["marts", "orders"]],
)
def lifetime_values(workspace: Workspace) -> dg.MaterializeResult:
    """Orders and revenue expected of each buyer over the next year (BG/NBD, Gamma-Gamma)."""
    rfm = learning.frame(workspace, "features.person_rfm")

    def train(at: datetime) -> lifetime_value.Fitted | Refusal:
        return lifetime_value.fit(
            rfm, at, learning.frame(workspace, "marts.orders", {"kind": ["sale"]})
        )

    learned = learning.learn(workspace, lifetime_value.MODEL, train, plots.of_lifetime_value)
    shown = learned.metadata()
    if learned.champion is not None:
        values = lifetime_value.score(learned.champion, rfm, workspace.as_of)
        shown["dagster/row_count"] = learning.write(workspace, "ml.lifetime_values", values)
    return dg.MaterializeResult(metadata=shown)


@dg.multi_asset(
    name="personas",
    specs=[
        dg.AssetSpec(
            ["ml", name],
            group_name="ml",
            kinds=KINDS,
            deps=[["features", "person_features"]],
            description=text,
        )
        for name, text in {
            "personas": "Groups of persons who behave alike, with names that they keep.",
            "person_personas": "The persona of each buyer and active visitor; null in between.",
        }.items()
    ],
)
def persona_tables(workspace: Workspace) -> Iterator[dg.MaterializeResult]:
    """Discover personas weekly, assign them daily."""
    active = f"order_count >= 1 or days_since_last_seen <= {personas.ACTIVE_DAYS}"
    features = _features_today(workspace, active)
    assigned = learning.frame(workspace, "ml.person_personas")
    known = learning.frame(workspace, "ml.personas")
    learned = learning.learn(
        workspace,
        personas.MODEL,
        lambda at: personas.fit(features, at, assigned, known),
        plots.of_personas,
    )
    if learned.champion is not None:
        learning.write(workspace, "ml.personas", learned.champion.personas)
        rows = personas.score(learned.champion, features, workspace.as_of)
        learning.write(workspace, "ml.person_personas", rows)
    yield dg.MaterializeResult(asset_key=["ml", "personas"], metadata=learned.metadata())
    yield dg.MaterializeResult(asset_key=["ml", "person_personas"])


@dg.multi_asset(
    name="send_times",
    specs=[
        dg.AssetSpec(
            ["ml", name],
            group_name="ml",
            kinds=KINDS,
            deps=[
                ["features", "send_time_responses"],
                ["identity", "contact_points"],
                ["ml", "person_personas"],
            ],
            description=text,
        )
        for name, text in {
            "send_times": "Response probability by local hour of week, for persons with an address"
            " and a history.",
            "send_time_priors": "The same for everybody else, by persona and over all.",
        }.items()
    ],
)
def send_time_tables(workspace: Workspace) -> Iterator[dg.MaterializeResult]:
    """When people answer: curves by person, persona and population."""
    responses = learning.frame(workspace, "features.send_time_responses")
    persona_of = learning.frame(workspace, "ml.person_personas")
    channels = programs.channels(workspace.settings.programs)
    reachable = workspace.warehouse.read(
        "select distinct person_id, channel from identity.contact_points"
    ).to_pandas()
    learned = send_time.fit(responses, persona_of, workspace.as_of, channels, reachable=reachable)
    learning.record(workspace, learned.card, is_champion=not isinstance(learned, Refusal))
    shown = learning.Learned(None, learned.card, {}).metadata()
    if not isinstance(learned, Refusal):
        learning.write(workspace, "ml.send_times", learned.times)
        learning.write(workspace, "ml.send_time_priors", learned.priors)
        everybody = learned.priors[learned.priors["persona_id"].isna()]
        for channel, curve in zip(everybody["channel"], everybody["probabilities"], strict=True):
            shown[f"when_{channel}"] = learning.picture(plots.send_time_heat_map(curve))
    yield dg.MaterializeResult(asset_key=["ml", "send_times"], metadata=shown)
    yield dg.MaterializeResult(asset_key=["ml", "send_time_priors"])


@dg.asset(
    key=["ml", "policy_evaluations"],
    group_name="ml",
    kinds=KINDS,
    deps=[["marts", "bandit_feedback"]],
)
def policy_evaluations(workspace: Workspace) -> dg.MaterializeResult:
    """What other policies would have earned on logged decisions; who may decide from now on."""
    as_of = workspace.as_of
    before = policy_evaluation.held(
        learning.frame(workspace, learning.CARDS), as_of, inclusive=False
    )
    if not policy_evaluation.due(before, evaluating.matured(workspace), as_of):
        return dg.MaterializeResult(metadata=evaluating.unchanged(before))
    found = evaluating.evaluate(workspace, before)
    shown = learning.Learned(None, found.card, {}).metadata()
    for program, rows in found.frame.groupby("program"):
        shown[f"policies_of_{program}"] = learning.picture(plots.policy_values(rows))
    return dg.MaterializeResult(metadata=shown | {"dagster/row_count": len(found.frame)})


@dg.asset(
    key=["ml", "bandit_posteriors"],
    group_name="ml",
    kinds=KINDS,
    deps=[["marts", "bandit_feedback"], ["ml", "policy_evaluations"]],
)
def bandit_posteriors(workspace: Workspace) -> dg.MaterializeResult:
    """What each arm earns, by program and persona, from decisions and what they have earned."""
    loaded = programs.load_all(workspace.settings.programs)
    arms = {program.program: program.arm_names for program in loaded}
    feedback = learning.frame(workspace, "marts.bandit_feedback")
    learners = evaluating.learners(workspace)
    learned = bandit.posteriors(feedback, arms, workspace.as_of, learners)
    learning.record(workspace, learned.card, is_champion=True)
    learning.write(workspace, "ml.bandit_posteriors", learned.frame)
    shown = learning.Learned(None, learned.card, {}).metadata()
    house = learned.frame[learned.frame["persona_id"].isna()]
    for program, rows in house.groupby("program"):
        shown[f"arms_of_{program}"] = learning.picture(plots.bandit_posteriors(rows))
    return dg.MaterializeResult(metadata=shown)


def _features_today(workspace: Workspace, who: str) -> pd.DataFrame:
    """The features at business time, without the weekly snapshots, of those `who` (SQL) names."""
    return workspace.warehouse.read(
        f"select * from features.person_features where as_of = %(as_of)s and ({who})",
        as_of=workspace.as_of,
    ).to_pandas()


records = [
    dg.AssetSpec(["ml", name], group_name="ml", kinds={"postgres"}, description=text)
    for name, text in {
        "model_cards": "Every training: metrics, the gate's verdict and its reason.",
    }.items()
]
