"""Personas: groups of persons who behave alike, found by density, kept by name over weeks.

Belongs here: who takes part, the search, the gate, membership and the identity of personas from
week to week. Keep out: the behaviour space (`behaviour`) and words (`persona_names`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from hdbscan import HDBSCAN, approximate_predict
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from ml import persona_names
from ml.behaviour import Space, learn_space, raw
from ml.cards import ModelCard, Refusal, data_digest, model_version, plain

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

MODEL = "personas"
PERSONS_AT_LEAST = 200
SAMPLE_AT_MOST = 5_000
ACTIVE_DAYS = 90
CLUSTER_SHARES = (0.01, 0.02, 0.04, 0.08)
CLUSTER_SIZE_AT_LEAST = 25
NEIGHBOURS_FOR_DENSITY = 10
CLUSTERS_AT_MOST = 12
STABILITY_AT_LEAST = 0.05
NEARLY_BEST = 0.9
COVERAGE_AT_LEAST = 0.3
VOTERS = 25
VOTES_AT_LEAST = 0.5
OVERLAP_AT_LEAST = 0.3

REQUIRED = ("person_id", "as_of", "order_count", "days_since_last_seen")
PERSONA_COLUMNS = (
    "persona_id",
    "name",
    "description",
    "size",
    "profile",
    "since_at",
    "retired_at",
)
ASSIGNMENT_COLUMNS = ("person_id", "persona_id", "membership_probability", "as_of")


@dataclass(frozen=True)
class Clusters:
    """The density clusters of the sample: `sizes`-ordered labels, -1 for noise."""

    clusterer: HDBSCAN = field(repr=False)
    order: Labels
    points: Floats = field(repr=False)
    labels: Labels = field(repr=False)

    def membership(self, points: Floats) -> tuple[Labels, Floats]:
        """Label and probability of each point.

        A point that HDBSCAN calls noise joins the cluster of at least `VOTES_AT_LEAST` of its
        `VOTERS` nearest sample points, noise voting for nobody; its probability is that share.
        Otherwise its label is -1.
        """
        if not len(points):
            return np.empty(0, dtype=np.int64), np.empty(0)
        found, strengths = approximate_predict(self.clusterer, points)
        labels = np.where(found >= 0, self.order[found], -1)
        chances = np.where(found >= 0, strengths, 0.0).astype(np.float64)
        lost = np.flatnonzero(labels < 0)
        if lost.size:
            winner, share = self._votes(points[lost])
            labels[lost] = np.where(share >= VOTES_AT_LEAST, winner, -1)
            chances[lost] = share
        return labels, chances

    def _votes(self, points: Floats) -> tuple[Labels, Floats]:
        voters = min(VOTERS, len(self.points))
        _, nearest = cKDTree(self.points).query(points, k=voters)
        ballots = self.labels[nearest.reshape(len(points), -1)]
        counts = (ballots[:, :, None] == np.arange(self.order.size)).sum(axis=1)
        return counts.argmax(axis=1), counts.max(axis=1) / voters


@dataclass(frozen=True)
class Fitted:
    """Personas that passed their gate. `personas` holds the rows of `ml.personas`."""

    card: ModelCard
    space: Space
    clusters: Clusters
    persona_ids: tuple[str, ...]
    personas: pd.DataFrame = field(repr=False)


def fit(
    features: pd.DataFrame,
    as_of: datetime,
    assigned: pd.DataFrame | None = None,
    known: pd.DataFrame | None = None,
) -> Fitted | Refusal:
    """Discover personas among customers and active visitors, or refuse with a card.

    `features`: `features.person_features`, of which the latest row per person counts.
    `assigned` (`ml.person_personas`) and `known` (`ml.personas`) are last week's: a persona
    that shares enough persons with an old one keeps its id, name and since_at; the others are
    born at `as_of`; old ones without an heir are retired at `as_of`.
    """
    people = _participants(features, pd.Timestamp(as_of))
    space = learn_space(people) if len(people) >= PERSONS_AT_LEAST else None
    digest = data_digest(people["person_id"].to_frame())
    if space is not None:
        digest += data_digest(raw(people, space.features))
    version = model_version(MODEL, as_of, digest, _params())
    metrics: dict[str, Any] = {"rows": len(people), "params": _params()}
    if len(people) < PERSONS_AT_LEAST:
        lack = f"needs {PERSONS_AT_LEAST} customers and active visitors, has {len(people)}"
        return _refusal(version, as_of, metrics, lack)
    if space is None:
        return _refusal(version, as_of, metrics, "fewer than two behaviour features vary")
    points = space.points(people)
    clusters, search = _search(points[_sample(people["person_id"])])
    metrics |= {"features": space.features, "search": search}
    if clusters is None:
        return _refusal(version, as_of, metrics, _no_structure(search))
    labels, chances = clusters.membership(points)
    metrics |= {
        "sizes": np.bincount(labels[labels >= 0], minlength=clusters.order.size),
        "assigned_share": float((labels >= 0).mean()),
        "mean_membership": float(chances[labels >= 0].mean()),
    }
    ids = _identities(people["person_id"], labels, clusters.order.size, assigned, known, version)
    personas = _persona_frame(people, space, labels, ids, known, as_of)
    reason = f"{len(ids)} personas hold {metrics['assigned_share']:.0%} of {len(people)} persons"
    card = ModelCard(MODEL, version, as_of, metrics, "passed", reason)
    return Fitted(card, space, clusters, tuple(ids), personas)


def score(fitted: Fitted, features: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Rows for `ml.person_personas`: every customer and active visitor, ordered by person.

    `persona_id` is null for persons between the personas. Raises ValueError naming features
    that the personas were found in and `features` lacks.
    """
    people = _participants(features, pd.Timestamp(as_of))
    labels, chances = fitted.clusters.membership(fitted.space.points(people))
    names = np.array([*fitted.persona_ids, None], dtype=object)
    return pd.DataFrame(
        {
            "person_id": people["person_id"],
            "persona_id": pd.Series(names[labels], index=people.index, dtype="object"),
            "membership_probability": chances,
            "as_of": pd.Series(pd.Timestamp(as_of), people.index, "datetime64[us, UTC]"),
        },
        columns=list(ASSIGNMENT_COLUMNS),
    )


def _params() -> dict[str, Any]:
    return {
        "cluster_shares": CLUSTER_SHARES,
        "neighbours_for_density": NEIGHBOURS_FOR_DENSITY,
        "sample_at_most": SAMPLE_AT_MOST,
        "active_days": ACTIVE_DAYS,
    }


def _participants(features: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """Latest row of everybody who ever ordered or was seen within `ACTIVE_DAYS`."""
    missing = [name for name in REQUIRED if name not in features]
    if missing:
        raise ValueError(f"person_features lacks the column {missing[0]}")
    at = pd.to_datetime(features["as_of"], utc=True)
    rows = features.assign(as_of=at)[at <= as_of].sort_values(["person_id", "as_of"])
    rows = rows.drop_duplicates("person_id", keep="last")
    orders, unseen = raw(rows, ["order_count", "days_since_last_seen"]).T
    return rows[(orders >= 1) | (unseen <= ACTIVE_DAYS)].reset_index(drop=True)


def _sample(persons: pd.Series) -> Labels:
    """Positions of at most `SAMPLE_AT_MOST` persons, the same whenever they are the same."""
    ranks = np.argsort(pd.util.hash_array(persons.to_numpy(dtype=object)), kind="stable")
    return np.sort(ranks[:SAMPLE_AT_MOST])


def _search(points: Floats) -> tuple[Clusters | None, list[dict[str, float]]]:
    """The finest of the most stable clusterings over the candidate sizes, and the search.

    Stability is HDBSCAN's persistence averaged over the sample, noise counting nothing. It
    favours few large clusters, so among those within `NEARLY_BEST` of the best the one with
    most clusters wins, the more stable of two.
    """
    sizes = {max(CLUSTER_SIZE_AT_LEAST, round(share * len(points))) for share in CLUSTER_SHARES}
    tried = [_clustered(points, size) for size in sorted(sizes)]
    search = [found for _, found in tried]
    clear = [(one, found) for one, found in tried if _is_clear(found)]
    if not clear:
        return None, search
    enough = NEARLY_BEST * max(found["stability"] for _, found in clear)
    good = [(one, found) for one, found in clear if found["stability"] >= enough]
    best, _ = max(good, key=lambda pair: (pair[1]["clusters"], pair[1]["stability"]))
    return _ordered(best, points), search


def _clustered(points: Floats, size: int) -> tuple[HDBSCAN, dict[str, float]]:
    clusterer = HDBSCAN(
        min_cluster_size=size,
        min_samples=NEIGHBOURS_FOR_DENSITY,
        approx_min_span_tree=False,
        core_dist_n_jobs=1,
        prediction_data=True,
    ).fit(points)
    counts = np.bincount(clusterer.labels_[clusterer.labels_ >= 0])
    stability = counts @ np.asarray(clusterer.cluster_persistence_) if counts.size else 0.0
    return clusterer, {
        "min_cluster_size": size,
        "clusters": counts.size,
        "coverage": float(counts.sum() / len(points)),
        "stability": float(stability / len(points)),
    }


def _is_clear(found: Mapping[str, float]) -> bool:
    return (
        2 <= found["clusters"] <= CLUSTERS_AT_MOST
        and found["coverage"] >= COVERAGE_AT_LEAST
        and found["stability"] >= STABILITY_AT_LEAST
    )


def _ordered(clusterer: HDBSCAN, points: Floats) -> Clusters:
    """Labels renumbered by size, largest first; equal sizes keep HDBSCAN's order."""
    counts = np.bincount(clusterer.labels_[clusterer.labels_ >= 0])
    order = np.empty(counts.size, dtype=np.int64)
    order[np.argsort(-counts, kind="stable")] = np.arange(counts.size)
    labels = np.where(clusterer.labels_ >= 0, order[clusterer.labels_], -1)
    return Clusters(clusterer, order, points, labels)


def _no_structure(search: Sequence[Mapping[str, float]]) -> str:
    top = max(search, key=lambda one: one["stability"])
    return (
        f"no clear groups: the best search found {top['clusters']} that cover "
        f"{top['coverage']:.0%} at stability {top['stability']:.3f} (needs two to "
        f"{CLUSTERS_AT_MOST}, {COVERAGE_AT_LEAST:.0%} and {STABILITY_AT_LEAST})"
    )


def _identities(
    persons: pd.Series,
    labels: Labels,
    count: int,
    assigned: pd.DataFrame | None,
    known: pd.DataFrame | None,
    version: str,
) -> list[str]:
    """An id per label: the old persona's with the greatest overlap, else a new one."""
    ids = [_new_id(version, label) for label in range(count)]
    if assigned is None or known is None or assigned.empty:
        return ids
    alive = sorted(known.loc[known["retired_at"].isna(), "persona_id"])
    before = assigned.drop_duplicates("person_id").set_index("person_id")["persona_id"]
    old = before.reindex(persons.to_numpy()).to_numpy(dtype=object)
    overlap = np.zeros((count, len(alive)))
    for column, persona in enumerate(alive):
        was = old == persona
        for label in range(count):
            # Only persons who were there both weeks can tell whether a group stayed itself.
            now = (labels == label) & ~pd.isna(old)
            either = int((was | now).sum())
            overlap[label, column] = (was & now).sum() / either if either else 0.0
    for label, column in zip(*linear_sum_assignment(-overlap), strict=True):
        if overlap[label, column] >= OVERLAP_AT_LEAST:
            ids[label] = alive[column]
    return ids


def _new_id(version: str, label: int) -> str:
    return "persona_" + hashlib.sha256(f"{version}:{label}".encode()).hexdigest()[:12]


def _persona_frame(
    people: pd.DataFrame,
    space: Space,
    labels: Labels,
    ids: Sequence[str],
    known: pd.DataFrame | None,
    as_of: datetime,
) -> pd.DataFrame:
    old = _by_id(known)
    taken = [str(old[persona]["name"]) for persona in ids if persona in old]
    rows = []
    for label, persona in enumerate(ids):
        members = labels == label
        profile, contrasts = _profile(people, space, members)
        heir = old.get(persona)
        if heir is None:
            name = persona_names.name_of(contrasts, profile["buyers_share"], taken)
            taken.append(name)
        size = int(members.sum())
        rows.append(
            {
                "persona_id": persona,
                "name": name if heir is None else heir["name"],
                "description": persona_names.description_of(profile, size, members.mean()),
                "size": size,
                "profile": json.dumps(plain(profile)),
                "since_at": as_of if heir is None else heir["since_at"],
                "retired_at": None,
            }
        )
    for persona in sorted(set(old) - set(ids)):
        was = old[persona]
        ended = as_of if pd.isna(was["retired_at"]) else was["retired_at"]
        size = 0 if pd.isna(was["retired_at"]) else was["size"]
        rows.append({**was, "persona_id": persona, "size": size, "retired_at": ended})
    frame = pd.DataFrame(rows, columns=list(PERSONA_COLUMNS))
    for name in ("since_at", "retired_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]")
    return frame


def _by_id(known: pd.DataFrame | None) -> dict[str, dict[str, Any]]:
    if known is None or known.empty:
        return {}
    rows = known[list(PERSONA_COLUMNS)].to_dict("records")
    return {str(row["persona_id"]): {str(k): v for k, v in row.items()} for row in rows}


def _profile(
    people: pd.DataFrame, space: Space, members: NDArray[np.bool_]
) -> tuple[dict[str, Any], dict[str, float]]:
    values, scaled = raw(people, space.features), space.scaled(people)
    contrast = scaled[members].mean(axis=0) - scaled.mean(axis=0)
    contrasts = {name: float(c) for name, c in zip(space.features, contrast, strict=True)}
    means, overall = np.nanmean(values[members], axis=0), np.nanmean(values, axis=0)
    buyers_share = float((raw(people[members], ["order_count"]) >= 1).mean())
    profile = {
        "distinctive": persona_names.distinctive(contrasts, buyers_share),
        "buyers_share": buyers_share,
        "features": {
            name: {"mean": float(m), "overall": float(o), "contrast": round(contrasts[name], 4)}
            for name, m, o in zip(space.features, means, overall, strict=True)
        },
    }
    return profile, contrasts


def _refusal(version: str, as_of: datetime, metrics: Mapping[str, Any], reason: str) -> Refusal:
    return Refusal(ModelCard(MODEL, version, as_of, metrics, "refused", reason))
