"""Links by likeness: contact cards of one person that share no proof, found by resemblance.

Here: the Fellegi-Sunter model (Splink 5 on DuckDB in memory) over names, birth date, place,
street, mail and telephone; its unsupervised training; the pairs it accepts or proposes, with the
match weights that say why. Not here: which pairs the guards keep apart (`ml.identity_changes`),
writing rules and reviews.

Source: Fellegi and Sunter 1969; Splink (Linacre et al. 2022), whose formula it is:
match weight = log2(lambda / (1 - lambda)) + sum over fields of log2(m / u), with term frequencies
for exact agreement; probability = 2^weight / (1 + 2^weight).
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from ml import cards
from ml.cards import ModelCard, Refusal

MODEL = "contact_links"
ID = "contact_id"
ACCEPTED, PROPOSED = 0.99, 0.80
FIELDS = (
    "first_name", "last_name", "birth_date", "city", "postal_code", "street", "email", "phone",
)  # fmt: skip
PROPOSAL = ["left_contact_id", "right_contact_id", "match_probability", "explanation"]
# Below, there are not enough pairs to learn how often cards of one person agree.
LEAST_CONTACTS, LEAST_TWINS = 200, 20
RANDOM_PAIRS, EM_PAIRS, SEED = 2_000_000, 1_000_000, 20_260_101
PARAMS: Mapping[str, Any] = {
    "accepted": ACCEPTED,
    "proposed": PROPOSED,
    "random_pairs": RANDOM_PAIRS,
    "em_pairs": EM_PAIRS,
    "seed": SEED,
}
# Pairs that are compared at all: those that agree exactly on one of these, broad before narrow.
PLACED = ("birth_date", "street", "postal_code", "last_name", "first_name", "city")
BLOCKS: Sequence[Sequence[str]] = (
    *(("email",), ("phone",), ("mail_name",), ("birth_date",), ("street",)),
    *combinations(PLACED, 2),
    *combinations(PLACED, 3),
)
# A block with more pairs than this for each contact is left to narrower ones: two common names in
# one large city are no hint, and comparing a hundred times as many pairs finds hardly more.
PAIRS_PER_CONTACT = 100
# Blocks to learn in, each leaving other fields free: true pairs are a fair share of the pairs.
SESSIONS: Sequence[Sequence[str]] = (
    *(("email",), ("phone",), ("birth_date",), ("first_name", "last_name")),
    *(("last_name", "postal_code"), ("first_name", "last_name", "city")),
    *(("birth_date", "postal_code"), ("birth_date", "last_name")),
)
SESSION_PAIRS_PER_CONTACT = 2
# Pairs that hardly any two persons have by chance: they say how many twins there are.
TWINS: Sequence[Sequence[str]] = (
    ("first_name", "last_name", "birth_date"),
    ("first_name", "last_name", "postal_code", "city"),
    ("first_name", "last_name", "email"),
    ("first_name", "birth_date", "postal_code"),
)
TWINS_RECALL = 0.7
# Below this weight, in bits, under the first guess of lambda, a pair adds nothing to it.
LEAST_WEIGHT, PRIOR_STEPS = -8.0, 200
# What lies between the same and anything else, in the order in which it is tried.
LEVELS: Mapping[str, Sequence[str]] = {
    "first_name": ("swapped", "very close", "akin"),
    "last_name": ("very close", "akin"),
    "birth_date": ("one typo", "two typos"),
    "city": ("close",),
    "postal_code": ("one typo",),
    "street": ("close", "akin"),
    "email": ("same mail name", "two typos", "close"),
    "phone": ("one typo",),
}
# A rare name that agrees says more than a common one.
TERM_FREQUENCIES = frozenset(FIELDS) - {"birth_date"}


@dataclass(frozen=True)
class Likeness:
    """What a training found.

    links: left_contact_id < right_contact_id, match_probability (0.80 to 1), explanation (JSON
        text: the weight of every field in bits and at which level it stood; no values), one row
        a pair, most likely first.
    """

    card: ModelCard
    links: pd.DataFrame


def link(contacts: pd.DataFrame, as_of: datetime) -> Likeness | Refusal:
    """Find the pairs of cards that are one person with probability 0.80 or more.

    contacts: one row a contact, `contact_id` and any of FIELDS as text (null or empty: unknown).
    Trained on these contacts alone, without labels: u by random pairs, m by expectation
    maximisation in several blocks, lambda from twins that nearly surely are. One thread, a fixed
    seed and sorted rows make it the same every time. Refused with fewer than 200 contacts, with
    fewer than 20 twins, or when a field's agreement speaks against a match.
    """
    known = prepared(contacts)
    digest = cards.data_digest(known)
    version = cards.model_version(MODEL, as_of, digest, PARAMS)
    found: dict[str, Any] = {"contacts": len(known)}

    def card(gate: cards.Gate, reason: str) -> ModelCard:
        return ModelCard(MODEL, version, as_of, found, gate, reason)

    if len(known) < LEAST_CONTACTS:
        return Refusal(card("refused", f"{len(known)} contacts; {LEAST_CONTACTS} are needed"))
    fields = [name for name in FIELDS if known[name].notna().mean() > 0.05]
    with _connected(known) as connection:
        found |= {"twins": _count(connection, _usable(TWINS, fields)), "fields": fields}
        if found["twins"] < LEAST_TWINS:
            text = f"{found['twins']} pairs of cards are nearly surely one person"
            return Refusal(card("refused", f"{text}; {LEAST_TWINS} are needed to learn from"))
        blocks = _suitable(connection, _usable(BLOCKS, fields), PAIRS_PER_CONTACT * len(known))
        linker = _trained(connection, fields, blocks, SESSION_PAIRS_PER_CONTACT * len(known))
        found |= {"blocks": ["+".join(rule) for rule in blocks], "weights": _weights(linker)}
        if odd := _contrary(found["weights"]):
            return Refusal(card("refused", f"agreement on {odd} speaks against a match"))
        found["prior"], links = _scored(linker, fields, len(known))
    is_accepted = links["match_probability"] >= ACCEPTED
    found |= {"accepted": int(is_accepted.sum()), "proposed": int((~is_accepted).sum())}
    return Likeness(card("passed", f"{len(links)} pairs alike"), links)


def prepared(contacts: pd.DataFrame) -> pd.DataFrame:
    """The contacts as they are compared: lower case, one space, no empty text, in order."""
    out = pd.DataFrame({ID: contacts[ID].astype("string")})
    for name in FIELDS:
        if name in contacts:
            text = contacts[name].astype("string").str.lower().str.split().str.join(" ")
            out[name] = text.mask(text == "")
        else:
            out[name] = pd.array([None] * len(contacts), dtype="string")
    out["mail_name"] = out["email"].str.split("@").str[0]
    return out.sort_values(ID, ignore_index=True)


@contextmanager
def _connected(known: pd.DataFrame) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("given", known)
        connection.execute(f"create table contacts as select * from given order by {ID}").fetchall()
        yield connection


def _usable(rules: Sequence[Sequence[str]], fields: Sequence[str]) -> list[Sequence[str]]:
    there = {*fields, *(["mail_name"] if "email" in fields else [])}
    return [rule for rule in rules if there.issuperset(rule)]


def _same(rule: Sequence[str]) -> str:
    return " and ".join(f"l.{name} = r.{name}" for name in rule)


def _count(connection: duckdb.DuckDBPyConnection, rules: Sequence[Sequence[str]]) -> int:
    """Distinct pairs that agree on one of the rules."""
    parts = [
        f"select l.{ID} as one, r.{ID} as other from contacts as l inner join contacts as r"
        f" on {_same(rule)} and l.{ID} < r.{ID}"
        for rule in rules
    ]
    if not parts:
        return 0
    rows = connection.execute(f"select count(*) from ({' union '.join(parts)})").fetchall()
    return int(rows[0][0])


def _suitable(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[Sequence[str]], most: int, least: int = 0
) -> list[Sequence[str]]:
    """The rules on which that many pairs agree, without those that a broader one holds."""
    kept: list[Sequence[str]] = []
    for rule in rules:
        if any(set(broader) <= set(rule) for broader in kept):
            continue
        known = " and ".join(f"{name} is not null" for name in rule)
        rows = connection.execute(
            f"select coalesce(sum(held * (held - 1) // 2), 0) from (select count(*) as held"
            f" from contacts where {known} group by {', '.join(rule)})"
        ).fetchall()
        if least <= rows[0][0] <= most:
            kept.append(rule)
    return kept


def _trained(
    connection: duckdb.DuckDBPyConnection,
    fields: Sequence[str],
    blocks: Sequence[Sequence[str]],
    most: int,
) -> Any:
    """A Splink linker whose parameters are learnt from the contacts."""
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    logging.getLogger("splink").setLevel(logging.ERROR)
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name=ID,
        comparisons=[_comparison(name) for name in fields],
        blocking_rules_to_generate_predictions=[block_on(*rule) for rule in blocks],
        retain_matching_columns=True,
        retain_intermediate_calculation_columns=True,
    )
    api = DuckDBAPI(connection)
    linker = Linker(api.register("contacts"), settings, log_level=None, validate_settings=False)
    train = linker.training
    twins: list[Any] = [_same(rule) for rule in _usable(TWINS, fields)]
    train.estimate_probability_two_random_records_match(twins, recall=TWINS_RECALL)
    train.estimate_u_using_random_sampling(
        max_pairs=RANDOM_PAIRS, seed=SEED, min_count_per_level=None, num_chunks=1
    )
    for rule in _suitable(connection, _usable(SESSIONS, fields), most, LEAST_TWINS):
        train.estimate_parameters_using_expectation_maximisation(
            block_on(*rule), max_pairs=EM_PAIRS
        )
    return linker


def _comparison(name: str) -> Any:
    """Levels of agreement on one field, from the same to anything else."""
    import splink.comparison_level_library as levels
    import splink.comparison_library as library

    exact = levels.ExactMatchLevel(name, term_frequency_adjustments=name in TERM_FREQUENCIES)
    made: dict[str, Callable[[], Any]] = {
        "swapped": lambda: levels.CustomLevel("first_name_l = last_name_r"),
        "same mail name": lambda: levels.ExactMatchLevel("mail_name"),
        "one typo": lambda: levels.DamerauLevenshteinLevel(name, 1),
        "two typos": lambda: levels.DamerauLevenshteinLevel(name, 2),
        "very close": lambda: levels.JaroWinklerLevel(name, 0.92),
        "close": lambda: levels.JaroWinklerLevel(name, 0.88),
        "akin": lambda: levels.JaroWinklerLevel(name, 0.8),
    }
    between = [made[level]() for level in LEVELS[name]]
    return library.CustomComparison(
        output_column_name=name,
        comparison_levels=[levels.NullLevel(name), exact, *between, levels.ElseLevel()],
    )


def _weights(linker: Any) -> dict[str, dict[str, float]]:
    """Match weight in bits of every level of every field, the same first."""
    out: dict[str, dict[str, float]] = {}
    for comparison in linker._settings_obj.core_model_settings.comparisons:
        name = comparison.output_column_name
        bits = [
            round(float(level._log2_bayes_factor), 4)
            for level in comparison.comparison_levels
            if not level.is_null_level
        ]
        out[name] = dict(zip(_levels(name), bits, strict=True))
    return out


def _levels(name: str) -> list[str]:
    return ["same", *LEVELS[name], "different"]


def _contrary(weights: Mapping[str, Mapping[str, float]]) -> str | None:
    """A field on which the same speaks against a match, or anything else for one."""
    for name, of_level in weights.items():
        ordered = list(of_level.values())
        if ordered[0] <= 0 or ordered[-1] >= 0:
            return name
    return None


def _scored(linker: Any, fields: Sequence[str], count: int) -> tuple[float, pd.DataFrame]:
    """The share of true pairs among all pairs, and the links under it."""
    table = linker.inference.predict(threshold_match_weight=LEAST_WEIGHT)
    rows = table.as_pandas_dataframe()
    rows = rows.rename(columns={f"{ID}_l": PROPOSAL[0], f"{ID}_r": PROPOSAL[1]})
    rows = rows.sort_values(PROPOSAL[:2], ignore_index=True)
    core = linker._settings_obj.core_model_settings
    twins = core.probability_two_random_records_match
    evidence = rows["match_weight"].to_numpy(float) - np.log2(twins / (1 - twins))
    prior = _prior(evidence, count * (count - 1) / 2, twins)
    weight = evidence + np.log2(prior / (1 - prior))
    probability = 1 / (1 + np.exp2(-weight))
    rows = rows.assign(match_weight=weight, match_probability=probability.round(6))
    rows = rows[rows["match_probability"] >= PROPOSED]
    told = [_explained(row, fields) for row in rows.to_dict("records")]
    rows = rows.assign(explanation=pd.array(told, dtype="object"))
    order = ["match_probability", *PROPOSAL[:2]]
    rows = rows.sort_values(order, ascending=[False, True, True], ignore_index=True)
    return float(prior), rows[PROPOSAL]


def _prior(evidence: np.ndarray, pairs: float, start: float) -> float:
    """The mixing share lambda at which it equals the mean probability of a match (EM on lambda
    alone). evidence: weights in bits without the prior; pairs that are not among them count 0."""
    prior = start
    for _ in range(PRIOR_STEPS):
        chance = 1 / (1 + np.exp2(-(evidence + np.log2(prior / (1 - prior)))))
        renewed = max(float(chance.sum()) / pairs, 1 / pairs)
        if abs(renewed - prior) <= 1e-6 * prior:
            break
        prior = renewed
    return prior


def _explained(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """The weight of each field, and the level on which it stood; what is unknown weighs 0."""
    told: dict[str, Any] = {}
    for name in fields:
        place = int(row[f"gamma_{name}"])
        levels = _levels(name)
        level = "unknown" if place < 0 else levels[len(levels) - 1 - place]
        bits = float(row[f"mw_{name}"]) + float(row.get(f"mw_tf_adj_{name}", 0.0))
        told[name] = {"level": level, "bits": round(bits, 2)}
    total = round(float(row["match_weight"]), 2)
    return json.dumps({"bits": total, "fields": told}, sort_keys=True)
