"""From candidates to choices: the only place where guardrails and models meet, as data.

Belongs here: laying posteriors and send-time curves out for the candidates of one program.
Keep out: judging (`activations`), drawing (`ml`), writing decisions (`activations.decisions`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activations import quiet_hours
from activations.decisions import Candidates
from dagster_project import learning
from dagster_project.resources import Workspace
from ml import bandit, policy, send_hours

MODELS = ("bandit", "send_time")


@dataclass(frozen=True)
class Chosen:
    """For n opportunities x k arms: the arm drawn (-1 none), propensities, the local hour."""

    arm_indices: npt.NDArray[np.int64]
    propensities: npt.NDArray[np.float64]
    send_hours: npt.NDArray[np.int64]
    model_versions: Mapping[str, str]


def choose(workspace: Workspace, held: Candidates) -> Chosen:
    """Draw an arm and an hour for every candidate, reproducibly from its keys and the day."""
    seed = int(held.as_of.timestamp())
    frame = held.frame.to_pandas()
    keys = (frame["opportunity_id"] + "|" + frame["step"].astype(str)).to_numpy(dtype=object)
    posteriors = learning.frame(workspace, "ml.bandit_posteriors")
    arms = held.program.arm_names
    beliefs = bandit.beliefs(posteriors, held.program.program, frame["persona_id"], arms)
    choice = policy.choose(
        held.eligible,
        beliefs.alpha,
        beliefs.beta,
        beliefs.matured,
        frame["assignment"].to_numpy(dtype=object),
        arms.index(held.program.bau),
        seed,
        keys,
        held.program.exploration.floor_share,
    )
    hours = np.full(len(frame), -1, dtype=np.int64)
    for channel in held.program.channels:
        uses = np.array([arm.channel == channel for arm in held.program.arms])
        rows = np.flatnonzero((choice.arm_index >= 0) & uses[choice.arm_index])
        hours[rows] = _hours(workspace, held, channel, rows, keys[rows], seed)
    return Chosen(choice.arm_index, choice.propensities, hours, _versions(workspace))


def _hours(
    workspace: Workspace,
    held: Candidates,
    channel: str,
    rows: npt.NDArray[np.int64],
    keys: npt.NDArray[np.object_],
    seed: int,
) -> npt.NDArray[np.int64]:
    """Local hours of the week for some candidates on one channel, -1 where none is allowed."""
    if not rows.size:
        return np.empty(0, dtype=np.int64)
    persons = held.frame.to_pandas().iloc[rows]
    curves = send_hours.best_hours(
        learning.frame(
            workspace,
            "ml.send_times",
            {"person_id": persons["person_id"].tolist(), "channel": [channel]},
        ),
        learning.frame(workspace, "ml.send_time_priors"),
        persons[["person_id", "persona_id"]],
        channel,
    )
    zone = workspace.settings.time_zone
    upcoming = send_hours.upcoming_hours(held.as_of, persons["time_zone"].tolist(), zone)
    drawn = send_hours.choose_hours(curves.probabilities, upcoming, _allowed_hours(), keys, seed)
    picked = upcoming[np.arange(len(rows)), np.maximum(drawn.offset_hours, 0)]
    return np.where(drawn.offset_hours >= 0, picked, -1)


def _allowed_hours() -> npt.NDArray[np.bool_]:
    hour = np.arange(168) % 24
    return (hour >= quiet_hours.OPENS_HOUR) & (hour < quiet_hours.CLOSES_HOUR)


def _versions(workspace: Workspace) -> dict[str, str]:
    cards = learning.frame(workspace, learning.CARDS)
    champions = cards[cards["is_champion"]]
    return dict(zip(champions["model"], champions["model_version"], strict=True))
