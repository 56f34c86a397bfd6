"""Guardrails: may this person hear this arm? Pure verdicts over whole frames.

Belongs here: one function per rule, each a blocked matrix of n persons x arms, and their sum.
Keep out: reading tables (`candidates.py`, `recheck.py`), choosing an arm (`ml/`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activations import frequency
from activations.programs import Program

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Situation:
    """What is known of n persons at the moment of judging. Arrays have length n."""

    switched_off: Mapping[str, bool]  # by channel: a kill switch stops the program there
    reachable: Mapping[str, Flags]  # by channel: an address exists
    consented: Mapping[str, Flags]  # by channel: the latest word for that address is granted
    written: Mapping[str, Flags]  # by channel: no law asks for more than was granted
    refused: Mapping[str, Flags]  # by channel: the program's own topic was given up
    suppressed: Mapping[str, Flags]  # by channel
    affordable: Mapping[str, Flags]  # by channel: the wallet holds the price
    heard_count: Mapping[str, Counts]  # by limit in force: touches within its window
    engagement: Floats  # 0..1, NaN where unknown
    is_in_time: Flags  # an allowed hour comes before the opportunity expires
    is_high_value_at_risk: Flags
    has_copy: Flags  # n x arms: an approved variant exists


@dataclass(frozen=True)
class Verdicts:
    """`blocked` is n x arms, bit k set when guardrail k says no; `needs_review` n x arms."""

    blocked: npt.NDArray[np.uint16]
    needs_review: Flags

    @property
    def eligible(self) -> Flags:
        """n x arms: no guardrail says no."""
        return self.blocked == 0


def judge(program: Program, situation: Situation) -> Verdicts:
    """Every guardrail's verdict for every person and arm, none short-cut."""
    shape = situation.has_copy.shape
    blocked = np.zeros(shape, dtype=np.uint16)
    for bit, rule in enumerate(GUARDRAILS.values()):
        verdict = np.broadcast_to(rule(program, situation), shape)
        blocked |= verdict.astype(np.uint16) << np.uint16(bit)
    return Verdicts(blocked, review_needed(program, situation))


def reasons(pattern: int) -> list[str]:
    """The names of the guardrails in one bit pattern, in order of judging."""
    return [name for bit, name in enumerate(GUARDRAILS) if pattern >> bit & 1]


def silence_reasons(blocked: npt.NDArray[np.uint16]) -> list[str | None]:
    """Per person, what kept the arm that came furthest from being sent; None when one may be.

    An arm comes as far as the first guardrail that stops it, in order of judging.
    """
    lowest = blocked & (~blocked + np.uint16(1))  # the lowest set bit: the first that stops it
    furthest = np.where((blocked == 0).any(axis=1), 0, lowest.max(axis=1, initial=0))
    names = {1 << bit: name for bit, name in enumerate(GUARDRAILS)}
    return [names.get(int(bit)) for bit in furthest]


def switched_off(program: Program, situation: Situation) -> Flags:
    """A kill switch stops the program, the arm's channel, or everything."""
    return np.array([[situation.switched_off[arm.channel] for arm in program.arms]])


def unreachable(program: Program, situation: Situation) -> Flags:
    """No address on the arm's channel."""
    return ~_by_arm(program, situation.reachable)


def no_consent(program: Program, situation: Situation) -> Flags:
    """The address has not granted marketing: revoked and unknown alike."""
    return ~_by_arm(program, situation.consented)


def no_written_consent(program: Program, situation: Situation) -> Flags:
    """A marketing text to a number of the +1 plan without written consent under the TCPA."""
    return ~_by_arm(program, situation.written)


def topic_refused(program: Program, situation: Situation) -> Flags:
    """The address takes marketing, but no longer this program's."""
    return _by_arm(program, situation.refused)


def suppressed(program: Program, situation: Situation) -> Flags:
    """The address bounced, complained or opted out."""
    return _by_arm(program, situation.suppressed)


def frequency_cap(program: Program, situation: Situation) -> Flags:
    """Too many messages of all programs and channels in a window, those on their way included."""
    return _capped(program, situation, "frequency_cap")


def program_cap(program: Program, situation: Situation) -> Flags:
    """Too many messages of this program in a window, over all channels."""
    return _capped(program, situation, "program_cap")


def engagement_floor(program: Program, situation: Situation) -> Flags:
    """Engagement under the program's floor; nobody measured counts as the prior."""
    rules = program.guardrails
    if rules.engagement_floor is None:
        return np.zeros((len(situation.engagement), 1), dtype=bool)
    believed = np.where(np.isnan(situation.engagement), rules.engagement_prior, 0.0)
    believed += np.nan_to_num(situation.engagement, nan=0.0)
    return (believed < rules.engagement_floor)[:, None]


def wallet_empty(program: Program, situation: Situation) -> Flags:
    """The program's wallet does not hold the price of the arm."""
    return ~_by_arm(program, situation.affordable)


def no_approved_copy(_program: Program, situation: Situation) -> Flags:
    """Nobody approved any words for the arm."""
    return ~situation.has_copy


def expires_first(_program: Program, situation: Situation) -> Flags:
    """The occasion is over before an hour comes at which it may be spoken of."""
    return ~situation.is_in_time[:, None]


def review_needed(program: Program, situation: Situation) -> Flags:
    """n x arms: a person must look first: a deep offer, or somebody dear and close to leaving."""
    deep = np.array(
        [arm.offer_percent > program.approval.offer_percent_over for arm in program.arms]
    )
    precious = situation.is_high_value_at_risk & program.approval.high_value_at_risk
    return deep[None, :] | precious[:, None]


def high_value_at_risk(value: Floats, churn_probability: Floats, share: float = 0.05) -> Flags:
    """Among the top `share` in value and in churn probability at once; unknown is neither."""
    return _top(value, share) & _top(churn_probability, share)


def affordable(balance_minor: int, price_minor: int, n: int) -> Flags:
    """The first persons in line for whom the balance lasts, were all of them to cost the price."""
    if price_minor <= 0:
        return np.ones(n, dtype=bool)
    return np.arange(n) < max(balance_minor, 0) // price_minor


def _capped(program: Program, situation: Situation, cap: str) -> Flags:
    names = frequency.CAPS[cap]
    reached = frequency.is_reached(program.guardrails, situation.heard_count, names)
    return np.broadcast_to(reached, situation.engagement.shape)[:, None]


def _top(values: Floats, share: float) -> Flags:
    known = values[~np.isnan(values)]
    if known.size == 0:
        return np.zeros(values.shape, dtype=bool)
    return np.nan_to_num(values, nan=-np.inf) > np.quantile(known, 1 - share)


def _by_arm(program: Program, by_channel: Mapping[str, Flags]) -> Flags:
    return np.column_stack([by_channel[arm.channel] for arm in program.arms])


Rule = Callable[[Program, Situation], Flags]
GUARDRAILS: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        switched_off,
        unreachable,
        no_consent,
        no_written_consent,
        topic_refused,
        suppressed,
        frequency_cap,
        program_cap,
        engagement_floor,
        wallet_empty,
        no_approved_copy,
        expires_first,
    )
}


def ranks_within(groups: Sequence[str]) -> Counts:
    """0, 1, 2 … for the first, second, third row of each group, in row order."""
    seen: dict[str, int] = {}
    out = np.zeros(len(groups), dtype=np.int64)
    for row, group in enumerate(groups):
        out[row] = seen.get(group, 0)
        seen[group] = out[row] + 1
    return out
