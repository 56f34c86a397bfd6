"""Budgets follow the value that was planted, within every limit, to the minor unit."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.budget import COLUMNS, Allocation, Limits, allocate
from ml.cards import Refusal

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)


def inputs(**columns) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    rows = {
        "platform": ["meta"] * count,
        "campaign_id": [f"c{k}" for k in range(count)],
        "channel": ["paid_social"] * count,
        "objective": ["sales"] * count,
        "spend_7d_amount": [700.0] * count,
        "spend_28d_amount": [2800.0] * count,
        "conversions_28d": [100.0] * count,
        "value_28d_amount": [6000.0] * count,
        "current_daily_budget_amount": [100.0] * count,
        "is_learning": [False] * count,
    }
    return pd.DataFrame({**rows, **columns})


def proposed(frame: pd.DataFrame, **options) -> pd.Series:
    found = allocate(frame, NOW, 1, **options)
    assert isinstance(found, Allocation)
    return found.frame.set_index("campaign_id")["proposed_amount"]


def test_money_moves_to_planted_value_as_far_as_evidence_goes():
    strong = proposed(
        inputs(conversions_28d=[400.0, 100, 100], value_28d_amount=[24_000.0, 6000, 6000])
    )
    assert strong["c0"] == 120.0
    assert strong["c1"] == pytest.approx(90, abs=2)
    weak = proposed(inputs(conversions_28d=[3.0, 2, 2], value_28d_amount=[180.0, 120, 120]))
    assert 100 < weak["c0"] < 112
    assert strong.sum() == weak.sum() == pytest.approx(300)


def test_equal_campaigns_stay_as_they_are():
    same = proposed(inputs(conversions_28d=[100.0] * 4))
    np.testing.assert_allclose(same, 100, atol=1.0)
    assert round(same.sum(), 2) == 400


def test_a_campaign_with_little_data_is_judged_by_its_channel():
    frame = inputs(
        channel=["good", "good", "bad", "bad"],
        spend_28d_amount=[2800.0, 28.0, 2800.0, 28.0],
        conversions_28d=[300.0, 1, 60, 1],
        value_28d_amount=[18_000.0, 60, 3600, 60],
    )
    found = allocate(frame, NOW, 1)
    worth = found.card.metrics["value_per_spend"]
    assert worth["c1"] > 1.5 * worth["c3"]


def test_learning_campaigns_and_those_without_budget_are_untouched():
    frame = inputs(
        conversions_28d=[400.0, 100, 100, 0],
        value_28d_amount=[24_000.0, 6000, 6000, 0],
        is_learning=[True, False, False, False],
        current_daily_budget_amount=[100.0, 100.0, 100.0, np.nan],
    )
    found = allocate(frame, NOW, 1).frame.set_index("campaign_id")
    assert found.loc["c0", "proposed_amount"] == 100
    assert "learning" in found.loc["c0", "reason"]
    assert np.isnan(found.loc["c3", "proposed_amount"])
    assert "no budget" in found.loc["c3", "reason"]
    assert found.loc[["c1", "c2"], "proposed_amount"].sum() == pytest.approx(200)


def test_floors_and_ceilings_hold_and_the_step_beats_them():
    frame = inputs(conversions_28d=[900.0, 10, 100], value_28d_amount=[54_000.0, 600, 6000])
    held = proposed(frame, limits=Limits(floor_amount=95.0, ceiling_amount=110.0))
    assert held["c0"] == 110
    assert held["c1"] == 95
    climbing = proposed(frame, limits=Limits(floor_amount=500.0), total=1000.0)
    assert climbing.tolist() == [120, 120, 120]
    own = frame.assign(floor_amount=[np.nan, 99.0, np.nan], ceiling_amount=[101.0, np.nan, np.nan])
    assert proposed(own)["c0"] == 101
    assert proposed(own)["c1"] == 99


def test_a_new_total_is_met_as_far_as_limits_allow():
    assert proposed(inputs(conversions_28d=[100.0, 120]), total=230.0).sum() == pytest.approx(230)
    found = allocate(inputs(conversions_28d=[100.0, 120]), NOW, 1, total=900.0)
    assert found.frame["proposed_amount"].sum() == 240
    assert found.card.metrics["off_total_minor"] == -66_000
    assert "limits forbid" in found.card.reason


def test_currencies_without_cents_get_whole_units():
    frame = inputs(conversions_28d=[101.0, 120, 77], current_daily_budget_amount=[1001.0, 333, 77])
    found = proposed(frame, limits=Limits(minor_digits=0))
    assert (found == found.round()).all()
    assert found.sum() == 1411


def test_nothing_to_go_by_is_refused():
    for frame, words in (
        (inputs(is_learning=[True, True]), "learning"),
        (inputs(spend_28d_amount=[0.0, 0.0]), "spent"),
        (inputs(value_28d_amount=[0.0, 0.0]), "earned"),
        (inputs(is_learning=[True])[:0], "no campaign"),
    ):
        found = allocate(frame, NOW, 1)
        assert isinstance(found, Refusal)
        assert words in found.reason
    with pytest.raises(ValueError, match="twice"):
        allocate(inputs(campaign_id=["a", "a"]), NOW, 1)
    with pytest.raises(ValueError, match="negative"):
        allocate(inputs(spend_28d_amount=[-1.0]), NOW, 1)


@st.composite
def accounts(draw: st.DrawFn) -> pd.DataFrame:
    count = draw(st.integers(1, 8))

    def numbers(low: float, high: float) -> list[float]:
        some = st.floats(low, high, allow_nan=False)
        return draw(st.lists(some, min_size=count, max_size=count))

    won = [float(int(n)) for n in numbers(0, 300)]
    return inputs(
        channel=draw(st.lists(st.sampled_from(["a", "b"]), min_size=count, max_size=count)),
        spend_28d_amount=numbers(0, 10_000),
        conversions_28d=won,
        value_28d_amount=[n * v for n, v in zip(won, numbers(0, 500), strict=True)],
        current_daily_budget_amount=[round(n, 2) for n in numbers(0, 2_000)],
        is_learning=draw(st.lists(st.booleans(), min_size=count, max_size=count)),
    )


@settings(max_examples=25, deadline=None)
@given(accounts(), st.floats(0, 50), st.integers(0, 2**31))
def test_every_limit_holds_for_any_account(frame, floor, seed):
    found = allocate(frame, NOW, seed, limits=Limits(floor_amount=floor))
    if isinstance(found, Refusal):
        return
    assert found.frame.columns.tolist() == COLUMNS
    both = found.frame.merge(frame, on=["platform", "campaign_id"])
    assert len(both) == len(frame)
    old, new = both["current_daily_budget_amount"], both["proposed_amount"]
    moving = (old > 0) & ~both["is_learning"]
    assert (new[~moving] == old[~moving]).all()
    minor = (new * 100).round()
    assert np.allclose(new * 100, minor, atol=1e-6)
    assert ((new - old).abs()[moving] <= 0.2 * old[moving] + 1e-6).all()
    low, high = np.ceil(old * 80 - 1e-6), np.floor(old * 120 + 1e-6)
    reachable = np.minimum(np.maximum(np.ceil(floor * 100 - 1e-6), low), high)
    assert (minor[moving] >= reachable[moving]).all()
    if found.card.metrics["off_total_minor"] == 0:
        assert minor.sum() == (old * 100).round().sum()
    else:
        assert (minor[moving] == reachable[moving]).all()


def test_same_inputs_in_any_order_give_the_same_bits():
    frame = inputs(conversions_28d=[90.0, 120, 77, 300], channel=["a", "b", "b", "a"])
    first, second = (allocate(f, NOW, 5) for f in (frame, frame[::-1]))
    pd.testing.assert_frame_equal(first.frame, second.frame, check_exact=True)
    assert first.card == second.card
