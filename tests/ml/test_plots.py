"""Every figure is a PNG with something on it, the same bytes for the same data."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from ml import plots
from ml.lifetime_value import Holdout
from ml.quality import reliability

Picture = Callable[[], bytes]


def outcomes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    chances = random.uniform(size=300)
    return random.uniform(size=300) < chances, chances, random.uniform(size=300)


def posteriors(arms: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": [f"email_{number}_news" for number in range(arms)],
            "alpha": np.linspace(1, 20, arms),
            "beta": 300.0,
            "matured_count": 300,
        }
    )


def plan(before: float = 100.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "campaign_id": ["meta_prospecting", "meta_retargeting"],
            "previous_amount": [before, 50.0],
            "proposed_amount": [120.0, 40.0],
            "currency": "EUR",
        }
    )


def values(policies: int) -> pd.DataFrame:
    worth = np.linspace(0.02, 0.05, policies)
    return pd.DataFrame(
        {
            "policy": [f"policy {number}" for number in range(policies)],
            "estimator": "dr",
            "value": worth,
            "lower": worth - 0.01,
            "upper": worth + 0.01,
            "effective_sample_size": 1000.0,
        }
    )


def clouds() -> bytes:
    points = np.random.default_rng(1).normal(size=(60, 3))
    return plots.persona_map(points, np.arange(60) % 14 - 1, [f"Persona {n}" for n in range(13)])


def edges(count: int = 3) -> pd.DataFrame:
    rows = [
        ("email 1", "user_id 1", "accepted", None),
        ("anonymous_id 1", "user_id 1", "accepted", None),
        ("device_id 1", "user_id 1", "rejected", "shared_identifier"),
    ]
    return pd.DataFrame(rows[:count], columns=["left", "right", "verdict", "reason"])


PICTURES: dict[str, Picture] = {
    "person": lambda: plots.person_edges(edges()),
    "weights": lambda: plots.match_weights({"name": 5.2, "birth_date": -2.4, "city": 4.0}, 0.991),
    "reliability": lambda: plots.reliability_table(reliability(*outcomes()[:2])),
    "ranking": lambda: plots.ranking(*outcomes()),
    "importance": lambda: plots.importance({"sessions_90d_count": 0.7, "country": 0.3}),
    "persona_map": clouds,
    "holdout": lambda: plots.holdout(Holdout(90.0, np.arange(8.0), np.ones(8), np.ones(8))),
    "send_time": lambda: plots.send_time_heat_map(np.arange(168) / 168),
    "posteriors": lambda: plots.bandit_posteriors(posteriors(10)),
    "policies": lambda: plots.policy_values(values(5)),
    "budgets": lambda: plots.budgets(plan()),
}


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")[..., :3]


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_shows_something(name: str) -> None:
    picture = pixels(PICTURES[name]())
    assert 150 < picture.shape[0] < 1000
    assert 500 < picture.shape[1] < 1200
    assert 0.005 < (picture.min(axis=2) < 0.85).mean() < 0.6


def test_rejected_edges_are_in_another_colour() -> None:
    def shown(count: int) -> bool:
        picture = pixels(plots.person_edges(edges(count)))
        return bool((np.abs(picture - to_rgb(plots.ORANGE)).max(axis=2) < 0.02).any())

    assert shown(3)
    assert not shown(2)


def test_the_same_data_give_the_same_bytes() -> None:
    assert plots.budgets(plan()) == plots.budgets(plan())


@pytest.mark.parametrize(("best", "side", "half"), [(0, "left", "top"), (167, "right", "bottom")])
def test_the_best_hour_is_framed_where_it_is(best: int, side: str, half: str) -> None:
    chances = np.full(168, 0.01)
    chances[best] = 0.05
    picture = pixels(plots.send_time_heat_map(chances))
    rows, columns = np.nonzero(np.abs(picture - to_rgb(plots.ORANGE)).max(axis=2) < 0.02)
    assert ("left" if columns.mean() < picture.shape[1] / 2 else "right") == side
    assert ("top" if rows.mean() < picture.shape[0] / 2 else "bottom") == half


def test_nothing_to_show_is_said_not_raised() -> None:
    empty = [
        plots.bandit_posteriors(posteriors(0)),
        plots.policy_values(values(0)),
        plots.budgets(plan().head(0)),
        plots.importance({}),
        plots.person_edges(edges(0)),
    ]
    assert all((pixels(png) < 0.8).any() for png in empty)


def test_hostile_figures_are_still_drawn() -> None:
    many = pixels(plots.bandit_posteriors(posteriors(200)))
    assert many.shape[0] < 1300, "a hundred arms do not make a tower"
    assert pixels(plots.budgets(plan(before=0.0))).size
    assert pixels(plots.send_time_heat_map(np.zeros(168))).size
