"""Which way of learning may decide: candidates valued on logged decisions, and promotion.

Here: replaying what each candidate would have done with what was known then, estimating what that
would have earned, and the rule of promotion. Not here: estimators (`ml.off_policy`), posteriors
(`ml.bandit`), where the verdict is kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml import bandit, cards, off_policy, policy
from ml.bandit import Learner
from ml.cards import ModelCard, data_digest, model_version
from ml.off_policy import Estimate, Log, Weights

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MODEL = "policy"
LEARNERS: Mapping[str, Learner] = {
    "thompson": Learner(),
    "thompson_program": Learner(by_persona=False),
    "thompson_drifting": Learner(half_life_days=30),
}
"""The candidates. Each may become the current policy of a program; the first is it at first."""
FIRST = "thompson"
LOGGED = ("policy", "random")
"""Assignments that draw every eligible arm with a known chance; bau and holdout do not."""
FOLD_DAYS, FOLDS = 7, 4
REWARDS_AT_LEAST = 30
EFFECTIVE_AT_LEAST = 100.0
WEIGHTS_MEAN_WITHIN = 0.2
DECIDING = "dr"
COLUMNS = [
    "program", "policy", "estimator", "value", "lower", "upper", "effective_sample_size",
    "evaluated_at",
]  # fmt: skip


@dataclass(frozen=True)
class Program:
    """arms in the order of every matrix; bau: the declared arm; floor: least propensity."""

    arms: Sequence[str]
    bau: str
    floor: float = policy.FLOOR


@dataclass(frozen=True)
class Evaluated:
    """frame: rows of ml.policy_evaluations. current: the policy in force from now, by program."""

    frame: pd.DataFrame
    current: Mapping[str, str]
    card: ModelCard


@dataclass(frozen=True)
class _Replayed:
    """Logged decisions of all folds: targets by policy and expected rewards, float[n, k]."""

    log: Log
    is_policy: Bools
    targets: Mapping[str, Floats]
    expected: Floats


def held(model_cards: pd.DataFrame, until: datetime, *, inclusive: bool) -> ModelCard | None:
    """The latest card of a finished evaluation before `until` (or at it); None before the first.

    model_cards: rows of ml.model_cards. A day that runs again must not see its own verdict, so
    evaluating asks for what was held before; learning asks for what holds now.
    """
    rows = model_cards[(model_cards["model"] == MODEL) & (model_cards["gate"] == "passed")]
    moment = pd.to_datetime(rows["as_of"], utc=True)
    rows = rows[moment <= until if inclusive else moment < until].sort_values("as_of")
    if rows.empty:
        return None
    row = rows.iloc[-1]
    metrics = row["metrics"] if isinstance(row["metrics"], Mapping) else json.loads(row["metrics"])
    version, as_of = row["model_version"], row["as_of"].to_pydatetime()
    return ModelCard(MODEL, version, as_of, metrics, "passed", row["reason"])


def learners(card: ModelCard | None) -> dict[str, Learner]:
    """How each program learns, by the verdict of `card`; programs without one learn as at first."""
    return {} if card is None else {p: LEARNERS[name] for p, name in current(card).items()}


def current(card: ModelCard | None) -> dict[str, str]:
    """The policy in force, by program."""
    return {} if card is None else dict(card.metrics["current"])


def due(card: ModelCard | None, matured: int, as_of: datetime) -> bool:
    """Weekly, and only when feedback has matured since."""
    last = None if card is None else card.as_of
    return cards.due(as_of, last) and (card is None or card.metrics["matured"] != matured)


def evaluate(
    feedback: pd.DataFrame,
    programs: Mapping[str, Program],
    as_of: datetime,
    in_force: Mapping[str, str],
) -> Evaluated:
    """Value the candidates of every program on its last weeks of matured decisions.

    feedback: the columns of `bandit.posteriors`, and assignment, propensity, person_id,
    candidates (JSON object of the eligible arms). Of the last `FOLDS` weeks of matured decisions
    each is valued with posteriors learned on what was known when it began: no candidate is
    judged on rewards it learned from, and the means that the doubly robust estimator takes are
    independent of the rewards it corrects them with. Decisions of the policy and the random
    group are taken; without the random group, kept for ever, an arm at its floor would carry
    weights of 100.

    A candidate is promoted when the lower bound of its doubly robust value beats the value of
    the policy in force, its effective sample size is at least `EFFECTIVE_AT_LEAST`, and its mean
    weight, 1 in expectation, lies within `WEIGHTS_MEAN_WITHIN` of it. Programs with fewer than
    `REWARDS_AT_LEAST` rewards are not valued; without any the card is refused.
    """
    rows = feedback[feedback["arm"].notna()].sort_values("decision_id", ignore_index=True)
    frames, facts, chosen, said = [], {}, {}, []
    for name, program in sorted(programs.items()):
        chosen[name] = in_force.get(name, FIRST)
        own = rows[rows["program"] == name]
        logged = _logged(own, program)
        rewarded = int((logged["reward"] > 0).sum())
        if rewarded < REWARDS_AT_LEAST:
            said.append(f"{name}: {rewarded} rewards of {REWARDS_AT_LEAST} needed")
            continue
        replayed = _replay(own, logged, name, program)
        found = _values(replayed)
        chosen[name], facts[name], reason = _verdict(replayed, found, chosen[name])
        said.append(f"{name}: {reason}")
        frames.append(_frame(name, found, as_of))
    matured = int(rows["is_matured"].sum())
    metrics = {"matured": matured, "current": chosen, "programs": facts}
    digest = data_digest(rows.drop(columns="candidates"))
    version = model_version(MODEL, as_of, digest, {"in_force": dict(in_force)})
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
    gate: cards.Gate = "passed" if frames else "refused"
    card = ModelCard(MODEL, version, as_of, metrics, gate, "; ".join(said) or "no program")
    return Evaluated(frame, chosen, card)


def _logged(rows: pd.DataFrame, program: Program) -> pd.DataFrame:
    """Matured decisions of the last weeks whose arm was drawn with a known chance."""
    is_logged = rows["is_matured"].astype(bool) & rows["assignment"].isin(LOGGED)
    found = rows[is_logged & rows["arm"].isin(list(program.arms))]
    decided = pd.to_datetime(found["decided_at"], utc=True)
    return found[decided > decided.max() - timedelta(days=FOLD_DAYS * FOLDS)]


def _replay(rows: pd.DataFrame, logged: pd.DataFrame, name: str, program: Program) -> _Replayed:
    """What each candidate would have done, week by week, with what it knew when the week began."""
    decided = pd.to_datetime(logged["decided_at"], utc=True)
    newest = decided.max().floor("us")
    days_before = (newest - decided).dt.total_seconds().to_numpy() / 86_400
    fold = np.floor(np.maximum(days_before, 0.0) / FOLD_DAYS)
    parts: list[tuple[pd.DataFrame, dict[str, Floats], Floats]] = []
    for number in range(FOLDS):
        begun = (newest - timedelta(days=FOLD_DAYS * (number + 1))).to_pydatetime()
        week = logged[fold == number]
        if len(week):
            parts.append((week, *_candidates(known_at(rows, begun), week, name, program, begun)))
    taken = pd.concat([week for week, _, _ in parts])
    log = off_policy.log_of(
        pd.Index(list(program.arms)).get_indexer(pd.Index(taken["arm"])),
        taken["reward"],
        taken["propensity"],
        taken["person_id"].to_numpy(dtype=object),
    )
    targets = {key: np.vstack([one[key] for _, one, _ in parts]) for key in parts[0][1]}
    expected = np.vstack([means for _, _, means in parts])
    return _Replayed(log, taken["assignment"].eq("policy").to_numpy(), targets, expected)


def known_at(rows: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """Feedback as it was at an earlier moment: younger, with the answers that had come."""
    early = rows[pd.to_datetime(rows["decided_at"], utc=True) <= moment]
    is_matured = pd.to_datetime(early["matured_at"], utc=True) <= moment
    rewarded_at = pd.to_datetime(early["rewarded_at"], utc=True)
    so_far = early["reward_so_far"].where(rewarded_at <= moment, 0.0)
    return early.assign(
        is_matured=is_matured,
        reward=early["reward"].where(is_matured),
        rewarded_at=rewarded_at.where(rewarded_at <= moment),
        reward_so_far=so_far,
    )


def _candidates(
    known: pd.DataFrame, week: pd.DataFrame, name: str, program: Program, begun: datetime
) -> tuple[dict[str, Floats], Floats]:
    """Probabilities of each candidate for the decisions of a week, and expected rewards."""
    eligible = _eligible(week, program.arms)
    targets, expected = {}, np.zeros(eligible.shape)
    for key, learner in LEARNERS.items():
        learned = bandit.posteriors(known, {name: program.arms}, begun, {name: learner})
        found = bandit.beliefs(learned.frame, name, week["persona_id"].tolist(), program.arms)
        targets[key] = policy.choose(
            eligible,
            found.alpha,
            found.beta,
            found.matured,
            np.full(len(week), "policy", dtype=object),
            0,
            0,
            week["decision_id"].to_numpy(dtype=object),
            program.floor,
        ).propensities
        if key == FIRST:
            unit = learned.card.metrics["programs"][name]["unit_amount"]
            expected = unit * found.alpha / (found.alpha + found.beta)
    uniform = eligible / eligible.sum(axis=1, keepdims=True)
    bau = list(program.arms).index(program.bau)
    declared = np.eye(len(program.arms))[bau]
    targets["random"] = uniform
    targets["bau"] = np.where(eligible[:, [bau]], declared, uniform)
    return targets, expected


def _eligible(week: pd.DataFrame, arms: Sequence[str]) -> Bools:
    known = {text: [arm in options for arm in arms] for text, options in _options(week)}
    eligible = np.array([known[text] for text in week["candidates"]], dtype=bool)
    taken = pd.Index(list(arms)).get_indexer(pd.Index(week["arm"]))
    eligible[np.arange(len(week)), taken] = True
    return eligible


def _options(week: pd.DataFrame) -> list[tuple[str, Mapping[str, Any]]]:
    return [(text, json.loads(text)) for text in week["candidates"].unique()]


def _values(replayed: _Replayed) -> dict[str, list[Estimate]]:
    found = {
        name: off_policy.evaluate(replayed.log, target, replayed.expected)
        for name, target in replayed.targets.items()
    }
    own = replayed.is_policy
    if own.any():
        log = replayed.log
        part = off_policy.log_of(
            log.arm[own], log.reward[own], log.propensity[own], log.person[own]
        )
        found["logged"] = [off_policy.mean_reward(part)]
    return found


def _verdict(
    replayed: _Replayed, found: Mapping[str, list[Estimate]], in_force: str
) -> tuple[str, dict[str, Any], str]:
    """The policy from now, what the card says, and why in a sentence."""
    weights = {name: off_policy.weights(replayed.log, t) for name, t in replayed.targets.items()}
    deciding = {
        name: next(one for one in estimates if one.estimator == DECIDING)
        for name, estimates in found.items()
        if name in LEARNERS
    }
    bar = deciding[in_force].value
    better = {
        name: one.lower
        for name, one in deciding.items()
        if name != in_force and one.lower > bar and _is_trusted(weights[name])
    }
    winner = max(better, key=lambda name: better[name], default=in_force)
    base = replayed.targets[in_force]
    facts = {
        "decisions": len(replayed.log.reward),
        "rewards": int((replayed.log.reward > 0).sum()),
        "persons": int(replayed.log.person.max()) + 1,
        "was_in_force": in_force,
        "weights": {name: asdict(one) for name, one in weights.items()},
        "against_in_force": {
            name: asdict(off_policy.difference(replayed.log, target, base, replayed.expected))
            for name, target in replayed.targets.items()
            if name != in_force
        },
    }
    if winner == in_force:
        return winner, facts, f"{in_force} stays: nobody's lower bound beats its {bar:.4g}"
    low = deciding[winner].lower
    return winner, facts, f"{winner} in place of {in_force}: at least {low:.4g} against {bar:.4g}"


def _is_trusted(found: Weights) -> bool:
    fits = abs(found.mean - 1) <= WEIGHTS_MEAN_WITHIN
    return fits and found.effective_sample_size >= EFFECTIVE_AT_LEAST


def _frame(program: str, found: Mapping[str, list[Estimate]], as_of: datetime) -> pd.DataFrame:
    records = [
        {"program": program, "policy": name, **asdict(one), "evaluated_at": pd.Timestamp(as_of)}
        for name, estimates in found.items()
        for one in estimates
    ]
    return pd.DataFrame(records)[COLUMNS]
