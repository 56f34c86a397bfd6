"""The scorecard: what the loop believed and did, against what was true.

Belongs here: reading the contract tables and the truth, one function a part. Does not belong
here: arithmetic (`measures`), the law of response (`market.effects`), running the loop.

A part whose table is missing or empty is null, and its reason stands under `refused`.
"""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from activations import programs
from sandbox import measures, sightings
from sandbox.market import effects, zones
from sandbox.rehearsed import Refusal, Rehearsed, Row
from warehouse import Warehouse

LAST_DAYS: Final = 7
ATTRIBUTION_DAYS: Final = 30
FIRST_HOUR, LAST_HOUR = 8, 21
PAID_CHANNELS: Final = ("paid_social", "paid_search", "email", "sms")
KEYS: Final = (
    "identity_precision",
    "identity_recall",
    "identity_unique_violations",
    "lifecycle_stage_accuracy",
    "churn_auc",
    "churn_auc_of_truth",
    "churn_calibration_error",
    "send_time_reward_share_of_oracle",
    "policy_gain_share",
    "attribution_error_by_model",
    "duplicate_messages",
    "lost_messages",
    "messages_without_consent",
    "messages_in_quiet_hours",
    "audit_chain_intact",
)


def score(
    warehouse: Warehouse,
    truth_dir: Path,
    as_of: datetime,
    audit_chain_intact: bool | Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Score a rehearsal.

    Args:
        warehouse: of the rehearsed workspace.
        truth_dir: the market's truth folder, `<workspace home>/truth`; the providers' log is
            read from `<workspace home>/sandbox`.
        as_of: the last day's business time.
        audit_chain_intact: the verdict of the audit's own verification, or a call that gives it.

    Returns:
        The keys of the contract in `KEYS`, null where refused, and `refused`: {key: reason}.
    """
    rehearsed = Rehearsed(warehouse, truth_dir, as_of.astimezone(UTC))
    card: dict[str, Any] = dict.fromkeys(KEYS)
    refused: dict[str, str] = {}
    for names, part in PARTS.items():
        try:
            values = part(rehearsed)
        except Refusal as reason:
            refused |= dict.fromkeys(names, str(reason))
            continue
        card |= {name: _rounded(value) for name, value in zip(names, values, strict=True)}
        refused |= {name: "not defined on this data" for name in names if card[name] is None}
    intact = audit_chain_intact() if callable(audit_chain_intact) else audit_chain_intact
    card["audit_chain_intact"] = intact
    if intact is None:
        refused["audit_chain_intact"] = "the audit chain was not verified"
    return card | {"refused": refused}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return round(float(value), 6) if isinstance(value, float | np.floating) else value


def identity(rehearsed: Rehearsed) -> tuple[float | None, float | None, int]:
    """Return pairwise precision and recall over observed identifiers, and broken uniqueness.

    Identifiers of several people (a family's mailbox, a shop's tablet, a recycled number) have no
    right answer, placeholders no owner: both are left out, and so is what nothing but an
    identifier of several people speaks for. Precision: of the pairs with one person_id, those of
    one owner. Recall: of the pairs that the landed files connect through the owner's own
    identifiers (`sightings.connected`), those with one person_id.
    A violation is a person with two user ids, or an identifier of two persons.
    """
    person_of = {(kind, value): person for person, kind, value in rehearsed.resolved}
    seen = sightings.connected(rehearsed.landing, rehearsed.all_owners).to_pylist()
    found = [person_of.get((row["identifier_type"], row["identifier_value"])) for row in seen]
    fair = [(person, row["owner"]) for person, row in zip(found, seen, strict=True)
            if person is not None and row["is_fair"]]  # fmt: skip
    if not fair:
        raise Refusal("no resolved identifier is known to the truth")
    precision = measures.pairwise([row[0] for row in fair], [row[1] for row in fair])[0]
    placed = [person or f"nobody {number}" for number, person in enumerate(found)]
    recall = measures.pairwise(placed, [row["component"] for row in seen])[1]
    users = Counter(person for person, kind, _ in rehearsed.resolved if kind == "user_id")
    holders = Counter((kind, value) for _, kind, value in rehearsed.resolved)
    violations = sum(count > 1 for count in users.values())
    return precision, recall, violations + sum(count > 1 for count in holders.values())


def _churn_truth(rehearsed: Rehearsed) -> dict[int, Row]:
    """Return the true churn rows of the latest day not after `as_of`, by true person."""
    names = sorted(path.stem for path in (rehearsed.folder / "churn").glob("*.parquet"))
    day = f"{rehearsed.as_of:%Y-%m-%d}"
    past = [name for name in names if name <= day]
    if not past:
        raise Refusal("the truth has no churn by then")
    rows = pq.read_table(rehearsed.folder / "churn" / f"{past[-1]}.parquet").to_pylist()
    return {row["person"]: row for row in rows}


def lifecycle(rehearsed: Rehearsed) -> tuple[float]:
    """Return the share of true persons whose stage is the true one.

    Somebody whom the loop takes for several counts once, as the one with most identifiers: a
    visitor of whom nothing but a cookie is known says little about the stage of a person.
    """
    query = """
        select distinct on (person_id) person_id, stage from marts.lifecycle_stages
        order by person_id, since_at desc
    """
    found = rehearsed.read("marts.lifecycle_stages", query)
    truth = _churn_truth(rehearsed)
    hits = [
        truth[rehearsed.main_persons[person_id]]["stage"] == stage
        for person_id, stage in zip(
            found["person_id"].to_pylist(), found["stage"].to_pylist(), strict=True
        )
        if rehearsed.main_persons.get(person_id) in truth
    ]
    if not hits:
        raise Refusal("no person with a stage is known to the truth")
    return (float(np.mean(hits)),)


def churn(rehearsed: Rehearsed) -> tuple[float | None, float | None, float]:
    """Return AUC of the scores, AUC of the truth itself (the ceiling), calibration error.

    The label is the true probability of no order in 60 days, so both are expectations.
    """
    query = "select person_id, churn_probability from ml.churn_scores order by person_id"
    found = rehearsed.read("ml.churn_scores", query)
    truth = _churn_truth(rehearsed)
    pairs = [
        (probability, truth[owner]["no_order_60d_probability"])
        for person_id, probability in zip(
            found["person_id"].to_pylist(), found["churn_probability"].to_pylist(), strict=True
        )
        if (owner := rehearsed.persons.get(person_id)) in truth
    ]
    if not pairs:
        raise Refusal("no scored person is known to the truth")
    scores, true = (np.array(part) for part in zip(*pairs, strict=True))
    ceiling = measures.soft_auc(true, true)
    return measures.soft_auc(scores, true), ceiling, measures.calibration_error(scores, true)


def send_time(rehearsed: Rehearsed) -> tuple[float]:
    """Return the mean true response at the chosen hour over that at each person's best hour.

    Only hours at which marketing may be sent count as best.
    """
    query = """
        select person_id, best_hour_of_week from ml.send_times
        where channel = 'email' order by person_id
    """
    found = rehearsed.read("ml.send_times", query)
    hours = rehearsed.truth("hours")
    place = {person: row for row, person in enumerate(hours["person"].to_pylist())}
    flat = hours["tastes"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    factor = effects.hour_factor(flat.reshape(-1, zones.WEEK_HOURS))
    clock = np.arange(zones.WEEK_HOURS) % 24
    allowed = (clock >= FIRST_HOUR) & (clock < LAST_HOUR)
    chosen, best = [], []
    for person_id, hour in zip(
        found["person_id"].to_pylist(), found["best_hour_of_week"].to_pylist(), strict=True
    ):
        row = place.get(rehearsed.persons.get(person_id, -1))
        if row is not None:
            chosen.append(factor[row, hour])
            best.append(factor[row, allowed].max())
    if not best:
        raise Refusal("no person with a send time is known to the truth")
    return (float(np.mean(chosen) / np.mean(best)),)


def policy_gain(rehearsed: Rehearsed) -> tuple[float | None]:
    """Return (policy - random) / (oracle - random) in true expected reward, last 7 matured days.

    Random is uniform over the eligible arms, the oracle takes the best of them; the policy is
    valued by its propensities, over sends of the policy group with a choice of two arms or more.
    """
    earliest = rehearsed.as_of - timedelta(days=60 + LAST_DAYS)
    query = """
        select program, person_id, as_of, arm, candidates::text as candidates
        from delivery.decisions
        where assignment = 'policy' and outcome = 'send' and as_of > %(earliest)s
        order by decision_id
    """
    found = rehearsed.read("delivery.decisions", query, earliest=earliest).to_pylist()
    totals = np.zeros(3)
    for program in sorted({row["program"] for row in found}):
        settings = programs.load(program)
        matured = rehearsed.as_of - timedelta(days=settings.window_days)
        rows = [
            row
            for row in found
            if row["program"] == program
            and matured - timedelta(days=LAST_DAYS) < row["as_of"] <= matured
            and rehearsed.persons.get(row["person_id"]) in rehearsed.row_of
        ]
        totals += _gains(rehearsed, rows, program, settings.reward)
    if not totals.any():
        raise Refusal("no decision of the policy has matured")
    return (measures.gain_share(*totals.tolist()),)


def _gains(rehearsed: Rehearsed, rows: list[Row], program: str, reward: str) -> np.ndarray:
    """Return the summed true rewards of policy, random and oracle."""
    if not rows:
        return np.zeros(3)
    names = rehearsed.people.column_names
    people = {name: rehearsed.people[name].to_numpy() for name in names if name != "time_zone"}
    where = np.array([rehearsed.row_of[rehearsed.persons[row["person_id"]]] for row in rows])
    traits = effects.traits_of(people, where)
    law = effects.click_probability if reward == "click" else effects.conversion_probability
    considered = [json.loads(row["candidates"]) for row in rows]
    arms = sorted({arm for options in considered for arm in options})
    rewards = {arm: law(traits, program, arm) for arm in arms}
    totals = np.zeros(3)
    for index, (row, options) in enumerate(zip(rows, considered, strict=True)):
        if len(options) < 2:
            continue
        value = np.array([rewards[arm][index] for arm in options])
        share = np.array([options[arm] or 0.0 for arm in options], dtype=float)
        if abs(share.sum() - 1.0) > 1e-3:
            share = np.array([float(arm == row["arm"]) for arm in options])
        totals += (float(share @ value), float(value.mean()), float(value.max()))
    return totals


def attribution(rehearsed: Rehearsed) -> tuple[dict[str, float]]:
    """Return per model the distance (0..1) between credited and true shares of conversions.

    Truth: the channel without which the order had not been placed; what no marketing caused, and
    conversions a model gives to unpaid channels or to none, are `organic`. Last 30 days.
    """
    since = (rehearsed.as_of - timedelta(days=ATTRIBUTION_DAYS)).timestamp()
    conversions = rehearsed.truth("conversions").to_pylist()
    causes = {
        row["order_id"]: row["cause"]
        for row in conversions
        if since < row["ordered_at"] <= rehearsed.as_of.timestamp()
    }
    query = """
        select model, conversion_id, channel, sum(credit_share)::float8 as credit
        from marts.attributed_touchpoints where conversion_id = any(%(orders)s)
        group by 1, 2, 3 order by 1, 2, 3
    """
    found = rehearsed.read("marts.attributed_touchpoints", query, orders=sorted(causes)).to_pylist()
    true = _shares(Counter(causes.values()), len(causes))
    errors = {}
    for model in sorted({row["model"] for row in found}):
        credit: Counter[str] = Counter()
        for row in found:
            if row["model"] == model:
                credit[row["channel"]] += row["credit"]
        errors[model] = measures.share_distance(_shares(credit, len(causes)), true)
    return (errors,)


def _shares(credit: Counter[str], total: int) -> dict[str, float]:
    paid = {name: credit[name] / total for name in PAID_CHANNELS}
    return paid | {"organic": 1.0 - sum(paid.values())}


def messages(rehearsed: Rehearsed) -> tuple[int, int]:
    """Return messages said twice, and messages lost.

    Twice: a message key accepted again, or another key for the same true person, program and
    opportunity. Lost: held for accepted by the loop but never by the provider, or still waiting
    after they expired.
    """
    query = """
        select messages.message_key, messages.status, messages.program, messages.expires_at,
            decisions.opportunity_id, decisions.step
        from delivery.messages as messages
        join delivery.decisions as decisions using (decision_id) order by 1
    """
    planned = {
        row["message_key"]: row for row in rehearsed.read("delivery.messages", query).to_pylist()
    }
    times = Counter(row["message_key"] for row in rehearsed.accepted)
    first = {row["message_key"]: row for row in reversed(rehearsed.accepted)}
    said = Counter(
        (rehearsed.owner_of(message), *(planned[key][name] for name in
         ("program", "opportunity_id", "step")))
        for key, message in first.items()
        if key in planned and rehearsed.owner_of(message) is not None
    )  # fmt: skip
    twice = sum(count - 1 for count in times.values()) + sum(n - 1 for n in said.values())
    lost = 0
    for key, row in planned.items():
        claimed = row["status"] in ("accepted", "delivered") and key not in times
        waiting = row["status"] in ("planned", "reserved", "sending")
        lost += claimed or (waiting and row["expires_at"] < rehearsed.as_of)
    return twice, lost


def consent(rehearsed: Rehearsed) -> tuple[int]:
    """Return accepted messages whose address had not consented, as far as anybody could know.

    A withdrawal counts from the moment its file or webhook had landed (`known_at`).
    """
    if not rehearsed.accepted:
        raise Refusal("no message was accepted")
    given: dict[tuple[str, str], list[Row]] = {}
    for row in rehearsed.truth("consents").to_pylist():
        given.setdefault((row["channel"], row["address"].lower()), []).append(row)
    without = 0
    for message in rehearsed.accepted:
        at = message["at"].timestamp()
        rows = given.get((message["channel"], message["address"].strip().lower()), [])
        past = [row for row in rows if row["known_at"] <= at]
        latest = max(past, key=lambda row: row["at"], default=None)
        without += latest is None or latest["status"] != "granted"
    return (without,)


def quiet_hours(rehearsed: Rehearsed) -> tuple[int]:
    """Return accepted messages between 21:00 and 08:00 where the addressee truly lives."""
    if not rehearsed.accepted:
        raise Refusal("no message was accepted")
    zone = rehearsed.people["time_zone"].to_pylist()
    quiet = 0
    for message in rehearsed.accepted:
        owner = rehearsed.owner_of(message)
        row = None if owner is None else rehearsed.row_of.get(owner)
        if row is None:
            continue
        moment = np.array([message["at"].timestamp()])
        hour = int(zones.local_hours_of_week(moment, zone[row])[0]) % 24
        quiet += not FIRST_HOUR <= hour < LAST_HOUR
    return (quiet,)


PARTS: Final[dict[tuple[str, ...], Callable[[Rehearsed], tuple[Any, ...]]]] = {
    KEYS[0:3]: identity,
    KEYS[3:4]: lifecycle,
    KEYS[4:7]: churn,
    KEYS[7:8]: send_time,
    KEYS[8:9]: policy_gain,
    KEYS[9:10]: attribution,
    KEYS[10:12]: messages,
    KEYS[12:13]: consent,
    KEYS[13:14]: quiet_hours,
}
