"""What each arm of a program earns, and how sure we are: Beta posteriors by program and persona.

Here: learning from decisions and what they have earned so far. Not here: which arm to take
(`ml.policy`), what one decision teaches (`ml.rewards`), what counts as a reward (the program says,
marts measure).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from ml import rewards
from ml.cards import ModelCard, data_digest, model_version

Floats = NDArray[np.float64]

COLUMNS = [
    "program", "persona_id", "arm", "alpha", "beta", "matured_count", "pending_count", "updated_at",
]  # fmt: skip
PRIOR_MEAN = 0.05
PRIOR_DECISIONS = 2.0
"""A program's first guess at its mean reward, worth this many decisions."""
ARMS_DIFFER = 0.5
PERSONAS_DIFFER = 0.3
"""Prior guesses at how rates vary, as a share of their mean: arms of a program, personas of an arm.
A Beta of mean m and strength s varies by m sqrt((1 - m) / (m s))."""
PERSONA_SPREAD = 1.5
"""How far from that guess the data may lead, in logs of strength. With 1.5, personas that turn
out alike soon share all they know: of ten arms the policy gains 0.73 of what could be gained in
20,000 decisions, where personas differ in every arm 0.53 (40 seeds; with 1.0 less of both)."""
_GRID = np.logspace(0, 5, 101)
_ROUNDS = 12
_NOBODY = ""


@dataclass(frozen=True)
class Learner:
    """How to learn a program. half_life_days: decay of old decisions for tastes that drift, None
    keeps all at weight 1. by_persona: whether personas have posteriors of their own."""

    half_life_days: float | None = None
    by_persona: bool = True


@dataclass(frozen=True)
class Posteriors:
    """frame: rows of ml.bandit_posteriors, persona_id null for the program as a whole."""

    frame: pd.DataFrame
    card: ModelCard


@dataclass(frozen=True)
class Beliefs:
    """What `policy.choose` needs: alpha, beta float[n, k] and matured int[k]."""

    alpha: Floats
    beta: Floats
    matured: NDArray[np.int64]


@dataclass(frozen=True)
class _Counts:
    """Weighted decisions and rewards, float[arms, personas], and plain counts of decisions."""

    arms: list[str]
    personas: list[str]
    decisions: Floats
    rewards: Floats
    matured: Floats
    pending: Floats


@dataclass(frozen=True)
class _Hierarchy:
    """A program's learned levels: mean, strengths, lift of each persona and exposure of arms."""

    mean: float
    arm_strength: float
    persona_strength: float
    lift: Floats
    exposure: Floats


def posteriors(
    feedback: pd.DataFrame,
    arms: Mapping[str, Sequence[str]],
    as_of: datetime,
    learners: Mapping[str, Learner] | None = None,
) -> Posteriors:
    """Posteriors of every declared arm, for each program and each persona it has met.

    feedback: decision_id, program, arm, persona_id (null: unknown) and the columns of
    `rewards.evidence`; one row per decision. Rows without an arm are silences and left out; a
    matured row without a reward counts as pending. arms: the arms of each program, new ones
    included. learners: by program; the default where it has none.

    r ~ Bernoulli(theta[arm, persona]), theta[a, p] ~ Beta with mean theta[a] * lift[p] and
    strength s_p, theta[a] ~ Beta with mean mu and strength s_a, lift[p] ~ Gamma(c, c). mu, s_a,
    s_p and c are fitted to each program by marginal likelihood with weak log-normal priors
    (empirical Bayes). The lift takes out that personas differ in level, so that an arm does not
    look good for having been shown to the eager. A persona's posterior starts from what the
    other personas say of the arm, its variance being theirs plus that between personas: with
    s_p without bound all personas share one posterior, with s_p near 0 each stands alone.
    A new arm starts at Beta(mu s_a, (1 - mu) s_a). Young decisions count by their age, decay and
    revenue by weight (`rewards.evidence`). Raises ValueError on rewards outside their range.
    """
    rows = feedback[feedback["arm"].notna()].sort_values("decision_id", ignore_index=True)
    rows["is_matured"] = rows["is_matured"].astype(bool) & rows["reward"].notna()
    learners = learners or {}
    frames, metrics = [], {}
    for program in sorted({*arms, *rows["program"]}):
        own = rows[rows["program"] == program]
        learner = learners.get(program, Learner())
        declared = arms.get(program) or sorted(own["arm"].unique())
        frame, metrics[program] = _learned(program, own, declared, as_of, learner)
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS[:-1])
    frame["updated_at"] = pd.Timestamp(as_of)
    matured = int(rows["is_matured"].sum())
    params = {
        "learners": {program: asdict(learner) for program, learner in sorted(learners.items())},
        "arms": {program: list(names) for program, names in arms.items()},
    }
    version = model_version("bandit", as_of, data_digest(rows), params)
    reason = f"{matured} matured decisions" if matured else "no matured decision: priors only"
    facts = {"matured": matured, "pending": len(rows) - matured, "programs": metrics, **params}
    return Posteriors(frame[COLUMNS], ModelCard("bandit", version, as_of, facts, "passed", reason))


def from_counts(decisions: Floats, earned: Floats) -> tuple[Floats, Floats]:
    """alpha, beta float[arms, personas + 1] from counts float[arms, personas].

    The last column is the program as a whole. `posteriors` for those who have counted already.
    """
    nothing = np.zeros_like(decisions)
    names = [str(k) for k in range(decisions.shape[1])]
    counts = _Counts([], names, decisions, earned, nothing, nothing)
    levels = _fit(counts)
    whole, own = _program_level(counts, levels), _persona_level(counts, levels)
    alpha, beta = (np.column_stack([part, all_]) for part, all_ in zip(own, whole, strict=True))
    return alpha, beta


def _learned(
    program: str, rows: pd.DataFrame, arms: Sequence[str], as_of: datetime, learner: Learner
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Posteriors and card of one program."""
    rows = rows[rows["arm"].isin(arms)]
    found = rewards.evidence(rows, as_of, learner.half_life_days)
    rows = rows.assign(decided=found.decided, earned=found.earned)
    if not learner.by_persona:
        rows = rows.assign(persona_id=None)
    counts = _count(rows, arms)
    levels = _fit(counts)
    return _frame(program, counts, levels), _metrics(counts, levels) | dict(found.facts())


def beliefs(
    frame: pd.DataFrame, program: str, persona_ids: Sequence[str | None], arms: Sequence[str]
) -> Beliefs:
    """Rows of `frame` (ml.bandit_posteriors) laid out for one program's opportunities.

    persona_ids: one per opportunity; null or never met means the program's own row. Raises
    ValueError naming an arm without a posterior.
    """
    own = frame[frame["program"] == program]
    house = own[own["persona_id"].isna()].set_index("arm")
    if unknown := sorted(set(arms) - set(house.index)):
        raise ValueError(f"{program} has no posterior for {', '.join(unknown)}: learn first")
    house = house.reindex(list(arms))
    by_persona = own[own["persona_id"].notna()]
    personas = pd.Index(sorted(by_persona["persona_id"].unique()), dtype=object)
    place = personas.get_indexer(pd.Index(list(persona_ids), dtype=object))
    alpha, beta = (
        _laid_out(by_persona, personas, house[name])[place] for name in ("alpha", "beta")
    )
    return Beliefs(alpha, beta, house["matured_count"].to_numpy(dtype=np.int64))


def _laid_out(by_persona: pd.DataFrame, personas: pd.Index, house: pd.Series) -> Floats:
    """float[personas + 1, arms]; the last row is the program's own, so place -1 finds it."""
    table = by_persona.pivot(index="persona_id", columns="arm", values=str(house.name))
    table = table.reindex(index=personas, columns=house.index)
    whole = house.to_numpy(dtype=np.float64)
    own = table.to_numpy(dtype=np.float64)
    return np.vstack([np.where(np.isnan(own), whole, own), whole])


def _count(rows: pd.DataFrame, arms: Sequence[str]) -> _Counts:
    persona = rows["persona_id"].astype(object).where(rows["persona_id"].notna(), _NOBODY)
    personas = sorted({*persona, _NOBODY})
    place = pd.Index(list(arms)).get_indexer(pd.Index(rows["arm"])) * len(personas)
    place = place + pd.Index(personas).get_indexer(pd.Index(persona))
    is_matured = rows["is_matured"].to_numpy(dtype=bool)

    def table(amount: NDArray) -> Floats:
        shape = (len(arms), len(personas))
        flat = np.bincount(place, weights=amount, minlength=shape[0] * shape[1])
        return flat.astype(np.float64).reshape(shape)

    return _Counts(
        arms=list(arms),
        personas=personas,
        decisions=table(rows["decided"].to_numpy(dtype=np.float64)),
        rewards=table(rows["earned"].to_numpy(dtype=np.float64)),
        matured=table(is_matured),
        pending=table(~is_matured),
    )


def _fit(counts: _Counts) -> _Hierarchy:
    """Alternate between arms given lifts and lifts given arms; lifts average to 1."""
    lift = np.ones(len(counts.personas))
    by_arm, by_persona = counts.rewards.sum(axis=1), counts.rewards.sum(axis=0)
    decided = counts.decisions.sum()
    for _ in range(_ROUNDS):
        exposure = np.maximum(counts.decisions @ lift, by_arm)
        mean = (by_arm.sum() + PRIOR_MEAN * PRIOR_DECISIONS) / (exposure.sum() + PRIOR_DECISIONS)
        arm_strength = _strength(
            _beta_binomial(by_arm, exposure, mean), _varying(ARMS_DIFFER, mean), 1.0
        )
        theta = (by_arm + mean * arm_strength) / (exposure + arm_strength)
        expected = counts.decisions.T @ theta
        concentration = _strength(_gamma_poisson(by_persona, expected), 10.0, 1.5)
        lift = (by_persona + concentration) / (expected + concentration)
        lift *= decided / (counts.decisions @ lift).sum() if decided else 1.0
    means = np.clip(np.outer(theta, lift), 1e-6, 0.95)
    persona_strength = _strength(
        _beta_binomial(counts.rewards.ravel(), counts.decisions.ravel(), means.ravel()),
        _varying(PERSONAS_DIFFER, mean),
        PERSONA_SPREAD,
    )
    return _Hierarchy(mean, arm_strength, persona_strength, lift, exposure)


def _varying(share: float, mean: float) -> float:
    """Strength at which rates vary by `share` of their mean."""
    return (1 - mean) / (mean * share**2)


def _strength(likelihood: Floats, centre: float, spread: float) -> float:
    """The strength of the grid with the greatest likelihood times log-normal prior."""
    prior = -0.5 * (np.log(_GRID / centre) / spread) ** 2
    return float(_GRID[int(np.argmax(likelihood + prior))])


def _beta_binomial(rewards: Floats, decisions: Floats, means: Floats | float) -> Floats:
    """Log likelihood of all cells at every strength of the grid."""
    strength = _GRID[:, None]
    a, b = means * strength, (1 - means) * strength
    return (betaln(a + rewards, b + decisions - rewards) - betaln(a, b)).sum(axis=1)


def _gamma_poisson(rewards: Floats, expected: Floats) -> Floats:
    """Log likelihood of lifts of all personas at every concentration of the grid."""
    c = _GRID[:, None]
    terms = gammaln(rewards + c) - gammaln(c) + c * np.log(c)
    return (terms - (rewards + c) * np.log(c + expected)).sum(axis=1)


def _program_level(counts: _Counts, levels: _Hierarchy) -> tuple[Floats, Floats]:
    won = counts.rewards.sum(axis=1)
    alpha = levels.mean * levels.arm_strength + won
    return alpha, (1 - levels.mean) * levels.arm_strength + levels.exposure - won


def _persona_level(counts: _Counts, levels: _Hierarchy) -> tuple[Floats, Floats]:
    """Own counts on top of a Beta with the mean and variance that the others give."""
    alpha, beta = (level[:, None] for level in _program_level(counts, levels))
    others_won = alpha - counts.rewards
    lost = counts.decisions * levels.lift - counts.rewards
    others_lost = np.maximum(beta - lost, (1 - levels.mean) * levels.arm_strength)
    mean = others_won / (others_won + others_lost)
    doubt = levels.lift**2 * mean * (1 - mean) / (others_won + others_lost + 1)
    lifted = np.clip(mean * levels.lift, 1e-6, 0.95)
    spread = lifted * (1 - lifted)
    strength = np.maximum(spread / (doubt + spread / (levels.persona_strength + 1)) - 1, 0.5)
    won = lifted * strength + counts.rewards
    return won, (1 - lifted) * strength + counts.decisions - counts.rewards


def _frame(program: str, counts: _Counts, levels: _Hierarchy) -> pd.DataFrame:
    """The program's own rows, then those of each persona it has met."""
    met = [k for k, persona in enumerate(counts.personas) if persona != _NOBODY]
    whole, own = _program_level(counts, levels), _persona_level(counts, levels)
    tables = *own, counts.matured, counts.pending
    parts: list[tuple] = [(None, *whole, counts.matured.sum(axis=1), counts.pending.sum(axis=1))]
    parts += [(counts.personas[k], *(table[:, k] for table in tables)) for k in met]
    frames = [
        pd.DataFrame(
            {
                "program": program,
                "persona_id": pd.Series([persona] * len(counts.arms), dtype=object),
                "arm": counts.arms,
                "alpha": alpha,
                "beta": beta,
                "matured_count": matured.astype(np.int64),
                "pending_count": pending.astype(np.int64),
            }
        )
        for persona, alpha, beta, matured, pending in parts
    ]
    return pd.concat(frames, ignore_index=True)


def _metrics(counts: _Counts, levels: _Hierarchy) -> dict[str, float | int]:
    """Learned levels, and the mean log loss (nats) of leaving each decision out."""
    alpha, beta = _persona_level(counts, levels)
    won, lost = counts.rewards, counts.decisions - counts.rewards
    total = alpha + beta - 1
    chance_won = np.maximum(alpha - 1, alpha / 2) / total
    chance_lost = np.maximum(beta - 1, beta / 2) / total
    size = max(float(counts.decisions.sum()), 1e-9)
    loss = -(won * np.log(chance_won) + lost * np.log(chance_lost)).sum() / size
    flat = -(won.sum() * np.log(levels.mean) + lost.sum() * np.log1p(-levels.mean)) / size
    return {
        "matured": int(counts.matured.sum()),
        "mean_reward": levels.mean,
        "arm_strength": levels.arm_strength,
        "persona_strength": levels.persona_strength,
        "log_loss": float(loss),
        "log_loss_of_mean": float(flat),
    }
