"""Choices: from a drawn or fixed arm per opportunity to what will be done, or why not.

Belongs here: the four groups' policies, propensities, reasons for silence. Pure.
Keep out: the policy's own draw (`ml/`), words, times and tables (`decisions.py`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activations import guardrails
from activations.candidates import Candidates
from activations.keys import unit_draw

# Silences that no guardrail makes: the comparison group, the policy's own wish, and words that
# became too long for this one person (`messages.compose`).
OTHER_SILENCES = ("holdout", "policy_chose_silence", "copy_unfit")
Propensities = npt.NDArray[np.float64]


class ChoiceError(ValueError):
    """Arms or propensities that no policy over the eligible arms can have produced."""


@dataclass(frozen=True)
class Choice:
    """One row's outcome: an arm with its propensity under the group's policy, or a reason."""

    arm: int | None
    propensity: float | None
    reason: str
    propensities: tuple[float, ...] | None  # per arm, the group's policy; None in the holdout


def choose(
    candidates: Candidates, arm_indices: npt.NDArray[np.int64], propensities: Propensities
) -> list[Choice]:
    """What each row gets.

    `arm_indices` (n, -1 for none) and `propensities` (n x arms) are the policy's; they count for
    rows of the group policy. The random group draws uniformly by a hash of the occasion, bau
    takes the declared arm, the holdout is silent. Raises ChoiceError.
    """
    policy = candidates.is_policy
    _check(candidates, policy, arm_indices, propensities)
    silences = guardrails.silence_reasons(candidates.verdicts.blocked)
    groups = candidates.frame.column("assignment").to_pylist()
    occasions = zip(
        candidates.frame.column("opportunity_id").to_pylist(),
        candidates.frame.column("step").to_pylist(),
        strict=True,
    )
    out = []
    for row, (group, silence, occasion) in enumerate(zip(groups, silences, occasions, strict=True)):
        if group == "holdout":
            out.append(Choice(None, None, "holdout", None))
        elif silence is not None:
            out.append(Choice(None, None, silence, None))
        elif group == "policy":
            out.append(_drawn(int(arm_indices[row]), propensities[row]))
        elif group == "bau":
            out.append(_declared(candidates, row))
        else:
            out.append(_uniform(candidates, row, occasion))
    return out


def _drawn(arm: int, propensities: Propensities) -> Choice:
    shares = tuple(float(share) for share in propensities)
    if arm < 0:
        return Choice(None, None, "policy_chose_silence", shares)
    return Choice(arm, shares[arm], "policy", shares)


def _declared(candidates: Candidates, row: int) -> Choice:
    names = candidates.program.arm_names
    arm = names.index(candidates.program.bau)
    shares = tuple(float(index == arm) for index in range(len(names)))
    if not candidates.eligible[row, arm]:
        blocked = guardrails.reasons(int(candidates.verdicts.blocked[row, arm]))
        return Choice(None, None, blocked[0], None)
    return Choice(arm, 1.0, "bau", shares)


def _uniform(candidates: Candidates, row: int, occasion: tuple[str, int]) -> Choice:
    eligible = np.flatnonzero(candidates.eligible[row])
    point = unit_draw("random", candidates.program.salt, *occasion)
    shares = np.zeros(candidates.eligible.shape[1])
    shares[eligible] = 1 / len(eligible)
    arm = int(eligible[int(point * len(eligible))])
    return Choice(arm, float(shares[arm]), "random", tuple(shares.tolist()))


def _check(
    candidates: Candidates,
    policy: npt.NDArray[np.bool_],
    arm_indices: npt.NDArray[np.int64],
    propensities: Propensities,
) -> None:
    n, arms = candidates.eligible.shape
    if arm_indices.shape != (n,) or propensities.shape != (n, arms):
        raise ChoiceError(f"expected {n} arms and {n} x {arms} propensities")
    chosen = policy & (arm_indices >= 0)
    rows, picked = np.flatnonzero(chosen), arm_indices[chosen]
    if (picked >= arms).any() or not candidates.eligible[rows, picked].all():
        raise ChoiceError("the policy chose an arm that no guardrail lets through")
    shares = propensities[policy]
    if (shares[~candidates.eligible[policy]] != 0).any():
        raise ChoiceError("the policy gives an arm that is not eligible a propensity")
    if not np.allclose(shares.sum(axis=1), 1, atol=1e-6) or (propensities[rows, picked] <= 0).any():
        raise ChoiceError("propensities must sum to 1 over the eligible arms and be positive")
