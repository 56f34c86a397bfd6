"""Guardrails: each rule alone, all of them together, and what the silence is called."""

from dataclasses import replace

import numpy as np
import pytest

from activations import frequency, guardrails, programs
from activations.guardrails import Situation

PROGRAM = programs.load("abandoned_cart")
EMAIL, SMS = 0, 3


def fine(n: int = 1) -> Situation:
    yes, zero = np.ones(n, dtype=bool), np.zeros(n, dtype=np.int64)
    return Situation(
        switched_off={"email": False, "sms": False},
        reachable={"email": yes, "sms": yes},
        consented={"email": yes, "sms": yes},
        written={"email": yes, "sms": yes},
        refused={"email": ~yes, "sms": ~yes},
        suppressed={"email": ~yes, "sms": ~yes},
        affordable={"email": yes, "sms": yes},
        heard_count={name: zero for name in frequency.limits(PROGRAM.guardrails)},
        engagement=np.full(n, 0.9),
        is_in_time=yes,
        is_high_value_at_risk=~yes,
        has_copy=np.ones((n, len(PROGRAM.arms)), dtype=bool),
    )


NO = np.zeros(1, dtype=bool)


def heard(**counts: int) -> dict[str, np.ndarray]:
    nothing = {name: np.array([0]) for name in frequency.limits(PROGRAM.guardrails)}
    return nothing | {name: np.array([count]) for name, count in counts.items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reachable": {"email": NO, "sms": NO}}, "unreachable"),
        ({"consented": {"email": NO, "sms": NO}}, "no_consent"),
        ({"written": {"email": NO, "sms": NO}}, "no_written_consent"),
        ({"refused": {"email": ~NO, "sms": ~NO}}, "topic_refused"),
        ({"suppressed": {"email": ~NO, "sms": ~NO}}, "suppressed"),
        ({"switched_off": {"email": True, "sms": True}}, "switched_off"),
        ({"heard_count": heard(messages_per_7_days=3)}, "frequency_cap"),
        ({"heard_count": heard(messages_per_local_day=1)}, "frequency_cap"),
        ({"engagement": np.array([0.29])}, "engagement_floor"),
        ({"affordable": {"email": NO, "sms": NO}}, "wallet_empty"),
        ({"has_copy": np.zeros((1, 5), dtype=bool)}, "no_approved_copy"),
        ({"is_in_time": NO}, "expires_first"),
    ],
)
def test_each_guardrail_silences_alone(change: dict[str, object], reason: str) -> None:
    verdicts = guardrails.judge(PROGRAM, replace(fine(), **change))  # type: ignore[arg-type]
    assert not verdicts.eligible.any()
    assert guardrails.silence_reasons(verdicts.blocked) == [reason]
    assert guardrails.reasons(int(verdicts.blocked[0, EMAIL])) == [reason]


def test_nothing_in_the_way_leaves_every_arm() -> None:
    verdicts = guardrails.judge(PROGRAM, fine(3))
    assert verdicts.eligible.all()
    assert guardrails.silence_reasons(verdicts.blocked) == [None] * 3


def test_one_channel_without_consent_leaves_the_other() -> None:
    situation = replace(fine(), consented={"email": NO, "sms": ~NO})
    verdicts = guardrails.judge(PROGRAM, situation)
    assert verdicts.eligible.tolist() == [[False, False, False, True, True]]


def test_every_reason_is_kept_and_the_furthest_arm_names_the_silence() -> None:
    situation = replace(
        fine(), consented={"email": NO, "sms": ~NO}, heard_count=heard(messages_per_7_days=5)
    )
    blocked = guardrails.judge(PROGRAM, situation).blocked
    assert guardrails.reasons(int(blocked[0, EMAIL])) == ["no_consent", "frequency_cap"]
    assert guardrails.reasons(int(blocked[0, SMS])) == ["frequency_cap"]
    assert guardrails.silence_reasons(blocked) == ["frequency_cap"]


def test_unknown_engagement_is_the_prior_and_a_program_may_have_no_floor() -> None:
    unknown = replace(fine(), engagement=np.array([np.nan]))
    assert guardrails.judge(PROGRAM, unknown).eligible.all()
    silent = replace(fine(), engagement=np.array([0.0]))
    for name in ("welcome", "win_back"):
        program = programs.load(name)
        rules = replace(silent, has_copy=np.ones((1, len(program.arms)), dtype=bool))
        assert guardrails.judge(program, rules).eligible.all()


def test_deep_offers_and_precious_persons_go_to_review() -> None:
    arms = [*PROGRAM.arms[:1], PROGRAM.arms[1].model_copy(update={"offer_percent": 25})]
    program = PROGRAM.model_copy(update={"arms": tuple(arms)})
    situation = replace(fine(), has_copy=np.ones((1, 2), dtype=bool))
    assert guardrails.review_needed(program, situation).tolist() == [[False, True]]
    precious = replace(situation, is_high_value_at_risk=~NO)
    assert guardrails.review_needed(program, precious).all()


def test_high_value_at_risk_is_the_top_of_both() -> None:
    value = np.arange(100.0)
    assert guardrails.high_value_at_risk(value, value).sum() == 5
    assert guardrails.high_value_at_risk(value, -value).sum() == 0
    assert guardrails.high_value_at_risk(value, np.full(100, np.nan)).sum() == 0


def test_the_wallet_lasts_for_the_first_in_line() -> None:
    assert guardrails.affordable(5, 2, 4).tolist() == [True, True, False, False]
    assert guardrails.affordable(0, 0, 2).all()
    assert not guardrails.affordable(-3, 1, 2).any()
