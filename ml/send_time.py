"""When people answer: chance of a response for every hour of a person's own week.

Here: learning the curves. Not here: picking an hour for a message (`ml.send_hours`), quiet
hours, whether to send at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.cards import ModelCard, Refusal, data_digest, model_version
from ml.hour_pooling import HOURS, Pooling, bent, lift, log_loss_of, pool, tune

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHANNELS = ("email", "sms", "push", "whatsapp")
WEB = "web"
TIMES = ["person_id", "channel", "probabilities", "best_hour_of_week", "model_version"]
PRIORS = ["persona_id", "channel", "probabilities", "model_version"]
MINIMUM_SENDS = 200
MINIMUM_RESPONSES = 20
MINIMUM_VISITS = 200
ASSUMED_RESPONSE = 0.1
"""Mean response of a channel that has sent too little; only its shape, from visits, is learned."""
HELD_OUT_SHARE = 0.2
_PERSONS_TO_TUNE = 1_500
_PERSONS_AT_ONCE = 20_000
_TRUST = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_TRUST_UNSEEN = 0.5
_NOBODY = np.empty(0, dtype=np.int64)
_WEB_POOLING = Pooling(hours=2.0, other_days=0.6, level=0.0, strength=5.0)


@dataclass(frozen=True)
class SendTimes:
    """times: rows of ml.send_times (persons with sends or visits of their own). priors: rows of
    ml.send_time_priors (persona_id null = everybody). Probabilities are float32[168], hour 0 =
    Monday 00:00 local."""

    times: pd.DataFrame
    priors: pd.DataFrame
    card: ModelCard


@dataclass(frozen=True)
class _Cells:
    """Observed person hours of one channel, persons as places in a common list."""

    person: Ints
    hour: Ints
    sends: Floats
    responses: Floats

    def table(self, persons: Ints, amounts: Floats) -> Floats:
        """float[persons, 168] of `amounts` for some persons (sorted places)."""
        place = np.searchsorted(persons, self.person)
        inside = place < len(persons)
        inside[inside] = persons[place[inside]] == self.person[inside]
        flat = place[inside] * HOURS + self.hour[inside]
        sums = np.bincount(flat, weights=amounts[inside], minlength=len(persons) * HOURS)
        return sums.astype(np.float64).reshape(-1, HOURS)

    def with_trials(self, sends: Floats, responses: Floats) -> "_Cells":
        return _Cells(self.person, self.hour, sends, responses)


@dataclass(frozen=True)
class _People:
    """persona: place of each person's persona, -1 unknown. visits: web cells, and how visits of
    everybody fall over the week (sums to 1)."""

    ids: NDArray[np.object_]
    persona: Ints
    persona_ids: list[str]
    visits: _Cells
    density: Floats

    def visit_lift(self, persons: Ints) -> Floats:
        """How much more than others each person visits in each hour; density-weighted mean 1."""
        seen = self.visits.table(persons, self.visits.sends)
        expected = seen.sum(axis=1, keepdims=True) * self.density
        more = lift(_WEB_POOLING, seen, expected)
        return more / (more @ self.density)[:, None]


@dataclass(frozen=True)
class _Curves:
    """A fitted channel. trust: how far a person's visits shape that person's prior; shape: how far
    everybody's visits shape everybody's, both 0 not at all, 1 fully."""

    population: Floats
    personas: Floats
    persona_pooling: Pooling
    person_pooling: Pooling
    population_pooling: Pooling
    trust: float
    shape: float = 0.0

    def prior(self, people: _People, persons: Ints) -> Floats:
        """Persona's curve (or everybody's), bent by the person's own visits."""
        curves = np.vstack([self.personas, self.population])[people.persona[persons]]
        if self.trust == 0:
            return curves
        return bent(curves, people.visit_lift(persons) ** self.trust)

    def of(self, people: _People, cells: _Cells, persons: Ints) -> Floats:
        """float[persons, 168] with each person's own responses."""
        base = self.prior(people, persons)
        won, sent = (cells.table(persons, a) for a in (cells.responses, cells.sends))
        return pool(self.person_pooling, base, won, sent)


def fit(
    responses: pd.DataFrame,
    personas: pd.DataFrame | None,
    as_of: datetime,
    channels: Sequence[str] = CHANNELS,
    seed: int = 0,
    reachable: pd.DataFrame | None = None,
) -> SendTimes | Refusal:
    """Curves of every channel that has data, for everybody, each persona and each person.

    responses: features.send_time_responses (person_id, channel, hour_of_week 0..167, sends,
    responses); rows of channel 'web' are visits. personas: person_id, persona_id (null allowed).
    reachable: person_id, channel; curves are written for these alone (None: for everybody),
    while everybody's answers and visits shape them.

    Partial pooling in three steps, everybody → persona → person: with base curve b and counts
    smoothed around the clock by a kernel K (near hours, the same hours of other days, the whole
    week), p[h] = b[h] (Σ K r + s) / (Σ K n b + s), the posterior mean of a Gamma lift of
    strength s over the base. Kernel and strength are chosen at each step by leave-one-out log
    loss. A person's base is bent by the visits of that person, as far as that loss supports it.
    A channel with fewer than 200 sends or 20 responses takes its shape from visits (≥ 200) and
    an assumed mean of 10 %; a channel with neither is not published. When the curves of
    persons do not beat everybody's on a fifth of the sends held out, only priors of everybody
    are published.

    The card holds, per channel, held-out log loss against flat and everybody's curve. Refuses
    when no channel has data. Raises ValueError on hours outside 0..167 and more responses than
    sends.
    """
    rows = _checked(responses)
    version = model_version("send_time", as_of, data_digest(rows), {"seed": seed})
    people = _people(rows, personas)
    times, priors, metrics = [], [], {}
    for channel in channels:
        cells = _cells(rows[rows["channel"] == channel], people.ids)
        found = _learn_channel(cells, people, seed)
        if found is None:
            continue
        curves, metrics[channel] = found
        shows_persons = metrics[channel]["publishes_persons"]
        chosen = _chosen(channel, curves, cells, people, reachable) if shows_persons else _NOBODY
        times.append(_times(channel, curves, cells, people, chosen))
        priors.append(_priors(channel, curves, people, shows_persons))
    if not metrics:
        reason = (
            f"no channel has {MINIMUM_SENDS} sends with {MINIMUM_RESPONSES} responses, "
            f"and there are fewer than {MINIMUM_VISITS} visits"
        )
        return Refusal(ModelCard("send_time", version, as_of, _facts(rows, {}), "refused", reason))
    reason = "; ".join(f"{c}: {m['verdict']}" for c, m in metrics.items())
    card = ModelCard("send_time", version, as_of, _facts(rows, metrics), "passed", reason)
    frames = (
        pd.concat(f, ignore_index=True).assign(model_version=version) for f in (times, priors)
    )
    time_frame, prior_frame = frames
    return SendTimes(time_frame[TIMES], prior_frame[PRIORS], card)


def _checked(responses: pd.DataFrame) -> pd.DataFrame:
    keys = ["channel", "person_id", "hour_of_week"]
    rows = responses[[*keys, "sends", "responses"]].sort_values(keys, ignore_index=True)
    if not rows["hour_of_week"].between(0, HOURS - 1).all():
        raise ValueError(f"hour_of_week outside 0..{HOURS - 1}")
    messages = rows[rows["channel"] != WEB]
    if (messages["responses"] > messages["sends"]).any():
        raise ValueError("more responses than sends in an hour: a response belongs to one message")
    return rows


def _cells(rows: pd.DataFrame, ids: NDArray[np.object_]) -> _Cells:
    person = pd.Index(ids).get_indexer(pd.Index(rows["person_id"], dtype=object))
    columns = (rows[name].to_numpy(dtype=np.float64) for name in ("sends", "responses"))
    return _Cells(person.astype(np.int64), rows["hour_of_week"].to_numpy(np.int64), *columns)


def _people(rows: pd.DataFrame, personas: pd.DataFrame | None) -> _People:
    ids = np.sort(rows["person_id"].astype(object).unique())
    known: Mapping[str, Any] = {}
    if personas is not None:
        some = personas[personas["persona_id"].notna()]
        known = dict(zip(some["person_id"], some["persona_id"], strict=True))
    named = pd.Series([known.get(person) for person in ids], dtype=object)
    persona_ids = sorted(named.dropna().unique())
    place = pd.Index(persona_ids, dtype=object).get_indexer(pd.Index(named, dtype=object))
    visits = _cells(rows[rows["channel"] == WEB], ids)
    visits = visits.with_trials(np.maximum(visits.sends, visits.responses), visits.responses)
    counts = np.bincount(visits.hour, weights=visits.sends, minlength=HOURS).astype(np.float64)
    flat = np.full((1, HOURS), max(counts.sum(), 1.0) / HOURS)
    density = lift(_WEB_POOLING, counts[None, :], flat)[0]
    return _People(ids, place.astype(np.int64), persona_ids, visits, density / density.sum())


def _learn_channel(
    cells: _Cells, people: _People, seed: int
) -> tuple[_Curves, dict[str, Any]] | None:
    """Curves and figures of one channel; None when neither sends nor visits suffice."""
    sends, won = float(cells.sends.sum()), float(cells.responses.sum())
    visits = float(people.visits.sends.sum())
    facts: dict[str, Any] = {"sends": int(sends), "responses": int(won), "visits": int(visits)}
    if sends < MINIMUM_SENDS or won < MINIMUM_RESPONSES:
        if visits < MINIMUM_VISITS:
            return None
        verdict = f"shape from visits, mean assumed {ASSUMED_RESPONSE:g}"
        curves = _from_visits(people)
        return curves, {**facts, "basis": "visits", "publishes_persons": True, "verdict": verdict}
    train, test = _thinned(cells, np.random.default_rng([seed, int(sends)]))
    curves = _tuned(train, people, has_visits=visits >= MINIMUM_VISITS)
    losses = _held_out(curves, train, test, people)
    helps = losses["log_loss"] <= losses["log_loss_of_population"]
    verdict = "curves of persons" if helps else "persons add nothing yet, everybody's curve"
    final = _refitted(curves, cells, people)
    facts |= {"basis": "sends", "publishes_persons": helps, "verdict": verdict}
    return final, {**facts, **losses, "trust_in_visits": curves.trust,
                   "person_pooling": vars(curves.person_pooling)}  # fmt: skip


def _from_visits(people: _People) -> _Curves:
    """Everybody's curve from the week of visits, persons from their own visits alone."""
    flat = np.full((1, HOURS), ASSUMED_RESPONSE)
    population = bent(flat, (people.density[None, :] * HOURS) ** _TRUST_UNSEEN)[0]
    rows = np.tile(population, (len(people.persona_ids), 1))
    return _Curves(population, rows, _WEB_POOLING, _WEB_POOLING, _WEB_POOLING, _TRUST_UNSEEN)


def _thinned(cells: _Cells, rng: np.random.Generator) -> tuple[_Cells, _Cells]:
    """Every send falls into the held-out fifth by chance, with its response."""
    sends, won = cells.sends.astype(np.int64), cells.responses.astype(np.int64)
    out = rng.binomial(sends, HELD_OUT_SHARE)
    won_out = rng.hypergeometric(won, sends - won, out)
    kept = cells.with_trials((sends - out).astype(float), (won - won_out).astype(float))
    return kept, cells.with_trials(out.astype(float), won_out.astype(float))


def _by_persona(cells: _Cells, people: _People, amounts: Floats) -> Floats:
    place = people.persona[cells.person]
    known = place >= 0
    flat = place[known] * HOURS + cells.hour[known]
    size = len(people.persona_ids) * HOURS
    return (
        np.bincount(flat, weights=amounts[known], minlength=size).astype(float).reshape(-1, HOURS)
    )


def _by_hour(cells: _Cells) -> tuple[Floats, Floats]:
    """Responses and sends of everybody, float[1, 168] each."""
    sums = (np.bincount(cells.hour, weights=a, minlength=HOURS) for a in
            (cells.responses, cells.sends))  # fmt: skip
    won, sent = (a.astype(np.float64)[None, :] for a in sums)
    return won, sent


def _tuned(cells: _Cells, people: _People, has_visits: bool) -> _Curves:
    """Choose each step's pooling in turn, then the trust in visits."""
    won, sent = _by_hour(cells)
    shape = _shape(people, won, sent) if has_visits else 0.0
    start = _start(people, won, sent, shape)
    population_pooling = tune(start, won, sent)
    population = pool(population_pooling, start, won, sent)
    won, sent = (_by_persona(cells, people, a) for a in (cells.responses, cells.sends))
    base = np.tile(population, (len(won), 1))
    persona_pooling = tune(base, won, sent) if len(won) else population_pooling
    personas = pool(persona_pooling, base, won, sent)
    active = np.unique(cells.person)
    some = active[:: max(1, len(active) // _PERSONS_TO_TUNE)]
    curves = _Curves(population[0], personas, persona_pooling, population_pooling,
                     population_pooling, 0.0)  # fmt: skip
    won, sent = (cells.table(some, a) for a in (cells.responses, cells.sends))
    base = curves.prior(people, some)
    pooling = tune(base, won, sent)
    losses = [np.inf]
    if has_visits:
        more = people.visit_lift(some)
        losses = [log_loss_of(pooling, bent(base, more**t), won, sent) for t in _TRUST]
    trust = float(_TRUST[int(np.argmin(losses))])
    return _Curves(
        population[0], personas, persona_pooling, pooling, population_pooling, trust, shape
    )


def _start(people: _People, won: Floats, sent: Floats, shape: float) -> Floats:
    """Where everybody's curve starts, float[1, 168]: the mean, bent by the week of visits."""
    flat = np.full((1, HOURS), won.sum() / sent.sum())
    return bent(flat, (people.density[None, :] * HOURS) ** shape) if shape else flat


def _shape(people: _People, won: Floats, sent: Floats) -> float:
    """The week of visits is believed until sends speak against it by a likelihood ratio of e²."""
    losses = []
    for shape in (0.0, _TRUST_UNSEEN):
        start = _start(people, won, sent, shape)
        losses.append(log_loss_of(tune(start, won, sent), start, won, sent) * float(sent.sum()))
    return 0.0 if losses[0] < losses[1] - 2.0 else _TRUST_UNSEEN


def _refitted(tuned_curves: _Curves, cells: _Cells, people: _People) -> _Curves:
    """The same choices on all sends."""
    t = tuned_curves
    won, sent = _by_hour(cells)
    population = pool(t.population_pooling, _start(people, won, sent, t.shape), won, sent)
    won, sent = (_by_persona(cells, people, a) for a in (cells.responses, cells.sends))
    base = np.tile(population, (len(won), 1))
    personas = pool(t.persona_pooling, base, won, sent)
    return replace(t, population=population[0], personas=personas)


def _held_out(curves: _Curves, train: _Cells, test: _Cells, people: _People) -> dict[str, float]:
    """Mean log loss (nats) per held-out send, and what the model saves with its 95 % interval."""
    chance = np.empty(len(test.person))
    persons = np.unique(test.person)
    for start in range(0, len(persons), _PERSONS_AT_ONCE):
        some = persons[start : start + _PERSONS_AT_ONCE]
        here = (test.person >= some[0]) & (test.person <= some[-1])
        table = curves.of(people, train, some)
        chance[here] = table[np.searchsorted(some, test.person[here]), test.hour[here]]
    won, lost, total = test.responses, test.sends - test.responses, test.sends.sum()
    mean = train.responses.sum() / train.sends.sum()
    others = {"flat": np.full(len(chance), mean), "population": curves.population[test.hour]}
    logs = {name: (np.log(p), np.log1p(-p)) for name, p in {"": chance, **others}.items()}
    found = {}
    for name, (on_won, on_lost) in logs.items():
        key = f"log_loss_of_{name}" if name else "log_loss"
        found[key] = float(-(won * on_won + lost * on_lost).sum() / total)
    saved = [logs[""][k] - logs["population"][k] for k in (0, 1)]
    gain = float((won * saved[0] + lost * saved[1]).sum() / total)
    spread = (won * saved[0] ** 2 + lost * saved[1] ** 2).sum() / total - gain**2
    margin = 1.96 * float(np.sqrt(max(spread, 0.0) / total))
    return {**found, "gain": gain, "gain_lower": gain - margin, "gain_upper": gain + margin}


def _chosen(
    channel: str, curves: _Curves, cells: _Cells, people: _People, reachable: pd.DataFrame | None
) -> Ints:
    """Persons with sends of the channel, or with visits where visits are trusted."""
    sources = [cells.person] + ([people.visits.person] if curves.trust else [])
    persons = np.unique(np.concatenate(sources))
    if reachable is None:
        return persons
    addressed = reachable.loc[reachable["channel"] == channel, "person_id"]
    return persons[pd.Index(people.ids[persons]).isin(addressed)]


def _times(
    channel: str, curves: _Curves, cells: _Cells, people: _People, persons: Ints
) -> pd.DataFrame:
    parts = [
        curves.of(people, cells, persons[start : start + _PERSONS_AT_ONCE])
        for start in range(0, len(persons), _PERSONS_AT_ONCE)
    ]
    table = np.vstack([np.empty((0, HOURS)), *parts]).astype(np.float32)
    return pd.DataFrame(
        {
            "person_id": people.ids[persons],
            "channel": channel,
            "probabilities": pd.Series(list(table), dtype=object),
            "best_hour_of_week": table.argmax(axis=1),
        }
    )


def _priors(channel: str, curves: _Curves, people: _People, shows_personas: bool) -> pd.DataFrame:
    ids = people.persona_ids if shows_personas else []
    table = np.vstack([curves.population, curves.personas[: len(ids)]]).astype(np.float32)
    return pd.DataFrame(
        {
            "persona_id": pd.Series([None, *ids], dtype=object),
            "channel": channel,
            "probabilities": pd.Series(list(table), dtype=object),
        }
    )


def _facts(rows: pd.DataFrame, metrics: Mapping[str, Any]) -> dict[str, Any]:
    persons = int(rows["person_id"].nunique())
    return {"rows": len(rows), "persons": persons, "channels": dict(metrics)}
