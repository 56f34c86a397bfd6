"""Links by likeness: contact cards of one person that share no proof, found by resemblance.

Here: the Fellegi-Sunter model over names, birth date, place, street, mail and telephone (Splink 5
on DuckDB in memory blocks, compares and counts); the pairs it accepts or proposes, with the match
weights that say why. Not here: which pairs the guards keep apart (`ml.identity_changes`),
writing rules and reviews.

Source: Fellegi and Sunter 1969; Splink (Linacre et al. 2022), whose formula it is:
match weight = log2(share of matches / share of others) + sum over fields of log2(m / u), with the
value's frequency for u where it is the same, less log2(1 + odds that it is two of one household);
probability = 2^weight / (1 + 2^weight).
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

from ml import cards, match_mixture
from ml.cards import ModelCard, Refusal

MODEL = "contact_links"
ID = "contact_id"
ACCEPTED, PROPOSED = 0.99, 0.80
FIELDS = (
    "first_name", "last_name", "birth_date", "city", "postal_code", "street", "email", "phone",
)  # fmt: skip
# What people of one household have in common by chance only.
OWN = frozenset({"first_name", "birth_date"})
PROPOSAL = ["left_contact_id", "right_contact_id", "match_probability", "explanation"]
# Below, there are not enough pairs to learn how often cards of one person agree.
LEAST_CONTACTS, LEAST_TWINS = 200, 20
RANDOM_PAIRS, SEED = 150_000, 20_260_101
RAREST = 1 / RANDOM_PAIRS
PARAMS: Mapping[str, Any] = {
    "accepted": ACCEPTED,
    "proposed": PROPOSED,
    "random_pairs": RANDOM_PAIRS,
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
PAIRS_PER_CONTACT = 40
# Three fields that hardly any two persons have in common: one of them a person's own, and not
# only what namesakes of one town share.
SEEDS: Sequence[Sequence[str]] = tuple(
    rule
    for rule in combinations(
        ("first_name", "birth_date", "last_name", "postal_code", "street", "email", "phone"), 3
    )
    if OWN.intersection(rule)
)
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
    Trained on these contacts alone, without labels (`ml.match_mixture`): u by random pairs, m by
    pairs that agree on three other fields, shares by expectation maximisation. One thread, a fixed
    seed and sorted rows make it the same every time. Refused with fewer than 200 contacts, with
    fewer than 20 pairs to learn from, or when a field's agreement speaks against a match.
    """
    known = prepared(contacts)
    digest = cards.data_digest(known)
    version = cards.model_version(MODEL, as_of, digest, PARAMS)
    found: dict[str, Any] = {"contacts": len(known)}

    def card(gate: cards.Gate, reason: str) -> ModelCard:
        return ModelCard(MODEL, version, as_of, found, gate, reason)

    if len(known) < LEAST_CONTACTS:
        return Refusal(card("refused", f"{len(known)} contacts; {LEAST_CONTACTS} are needed"))
    with _connected(known) as connection:
        fields = [name for name in FIELDS if known[name].notna().mean() > 0.05]
        seeds = _usable(SEEDS, fields)
        found |= {"twins": _count(connection, seeds), "fields": fields}
        if found["twins"] < LEAST_TWINS:
            text = f"{found['twins']} pairs of cards are nearly surely one person"
            return Refusal(card("refused", f"{text}; {LEAST_TWINS} are needed to learn from"))
        blocks = _suitable(connection, _usable(BLOCKS, fields), PAIRS_PER_CONTACT * len(known))
        u, table = _compared(connection, fields, blocks)
        patterns = _patterns(connection, table, fields)
        learnt = _learnt(patterns, u, fields, seeds, len(known))
        found |= {"blocks": ["+".join(rule) for rule in blocks]}
        found |= {"share": learnt.share, "household_share": learnt.household_share}
        found |= {"pairs": int(patterns[:, -1].sum()), "weights": _weights(fields, learnt.m, u)}
        if odd := _contrary(found["weights"]):
            return Refusal(card("refused", f"agreement on {odd} speaks against a match"))
        links = _scored(connection, table, fields, found["weights"], learnt)
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


def _count(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[Sequence[str]], also: str = "true"
) -> int:
    """Distinct pairs that agree on one of the rules, and of which something else holds."""
    parts = [
        f"select l.{ID} as one, r.{ID} as other from contacts as l inner join contacts as r"
        f" on {_same(rule)} and l.{ID} < r.{ID} where {also}"
        for rule in rules
    ]
    if not parts:
        return 0
    rows = connection.execute(f"select count(*) from ({' union '.join(parts)})").fetchall()
    return int(rows[0][0])


def _suitable(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[Sequence[str]], most: int
) -> list[Sequence[str]]:
    """The rules on which at most so many pairs agree, without those that a broader one holds."""
    kept: list[Sequence[str]] = []
    for rule in rules:
        if any(set(broader) <= set(rule) for broader in kept):
            continue
        known = " and ".join(f"{name} is not null" for name in rule)
        rows = connection.execute(
            f"select coalesce(sum(held * (held - 1) // 2), 0) from (select count(*) as held"
            f" from contacts where {known} group by {', '.join(rule)})"
        ).fetchall()
        if rows[0][0] <= most:
            kept.append(rule)
    return kept


def _compared(
    connection: duckdb.DuckDBPyConnection, fields: Sequence[str], blocks: Sequence[Sequence[str]]
) -> tuple[list[np.ndarray], str]:
    """u per field, different first, and the table of all blocked pairs with their levels."""
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
    linker.training.estimate_u_using_random_sampling(
        max_pairs=RANDOM_PAIRS, seed=SEED, min_count_per_level=None, num_chunks=1
    )
    u = []
    for comparison in linker._settings_obj.core_model_settings.comparisons:
        levels = [level for level in comparison.comparison_levels if not level.is_null_level]
        seen = [level.u_probability for level in reversed(levels)]
        # A level that no random pair showed is rarer than one in all of them.
        u.append(np.array([s if isinstance(s, float) else 0.0 for s in seen]).clip(RAREST))
    return u, linker.inference.predict().physical_name


def _patterns(
    connection: duckdb.DuckDBPyConnection, table: str, fields: Sequence[str]
) -> np.ndarray:
    """int[patterns, fields + 1]: levels, and how many pairs show them."""
    gammas = ", ".join(f"gamma_{name}" for name in fields)
    query = f"select {gammas}, count(*) from {table} group by all order by all"
    return np.array(connection.execute(query).fetchall(), dtype=np.int64)


def _learnt(
    patterns: np.ndarray,
    u: list[np.ndarray],
    fields: Sequence[str],
    seeds: Sequence[Sequence[str]],
    count: int,
) -> match_mixture.Mixture:
    places = [[list(fields).index(name) for name in rule] for rule in seeds]
    is_own = [name in OWN for name in fields]
    pairs = count * (count - 1) / 2
    return match_mixture.fit(patterns[:, :-1], patterns[:, -1], u, is_own, places, pairs)


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


def _weights(
    fields: Sequence[str], m: Sequence[np.ndarray], u: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """Match weight in bits of every level of every field, the same first."""
    return {
        name: dict(zip(_levels(name), np.log2(yes / no)[::-1].round(4).tolist(), strict=True))
        for name, yes, no in zip(fields, m, u, strict=True)
    }


def _levels(name: str) -> list[str]:
    return ["same", *LEVELS[name], "different"]


def _contrary(weights: Mapping[str, Mapping[str, float]]) -> str | None:
    """A field on which the same speaks against a match, or anything else for one."""
    for name, of_level in weights.items():
        ordered = list(of_level.values())
        if ordered[0] <= 0 or ordered[-1] >= 0:
            return name
    return None


def _scored(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    fields: Sequence[str],
    weights: Mapping[str, Mapping[str, float]],
    learnt: match_mixture.Mixture,
) -> pd.DataFrame:
    """The links: agreement on a value that is rare weighs by how rare it is."""
    others = 1 - learnt.share - learnt.household_share
    prior = float(np.log2(learnt.share / others))
    parts, home = [], []
    for name, m, of_home in zip(fields, learnt.m, learnt.household, strict=True):
        bits = list(weights[name].values())[::-1]
        parts.append(f"{_bits(name, bits, m)} as bits_{name}")
        if name not in OWN:
            at_home = [
                bit + float(np.log2(h / y)) for bit, h, y in zip(bits, of_home, m, strict=True)
            ]
            home.append(_bits(name, at_home, of_home))
    odds = learnt.household_share / others
    parts.append(f"-log2(1 + {odds} * pow(2, {' + '.join(home) or '-1000'})) as bits_household")
    total = " + ".join([str(prior), *(f"bits_{name}" for name in (*fields, "household"))])
    least = float(np.log2(PROPOSED / (1 - PROPOSED)))
    rows = connection.execute(
        f"select *, {total} as bits from (select *, {', '.join(parts)} from {table})"
        f" where {total} >= {least} order by bits desc, {ID}_l, {ID}_r"
    ).df()
    probability = 1 / (1 + np.exp2(-rows["bits"].to_numpy(float)))
    told = [_explained(row, fields) for row in rows.to_dict("records")]
    links = pd.DataFrame(
        {
            PROPOSAL[0]: rows[f"{ID}_l"].astype("str"),
            PROPOSAL[1]: rows[f"{ID}_r"].astype("str"),
            PROPOSAL[2]: probability.round(6),
            PROPOSAL[3]: pd.array(told, dtype="str"),
        }
    )
    order = [PROPOSAL[2], *PROPOSAL[:2]]
    return links.sort_values(order, ascending=[False, True, True], ignore_index=True)


def _bits(name: str, bits: Sequence[float], probability: np.ndarray) -> str:
    """SQL of the weight of a field: by level, and where it is the same by how rare the value is."""
    cases = [f"when gamma_{name} = {level} then {bit}" for level, bit in enumerate(bits)]
    if name in TERM_FREQUENCIES:
        rarity = f"log2({probability[-1]} / greatest(tf_{name}_l, tf_{name}_r))"
        cases[-1] = f"when gamma_{name} = {len(bits) - 1} then {rarity}"
    return f"case {' '.join(cases)} else 0 end"


def _explained(row: Mapping[Any, Any], fields: Sequence[str]) -> str:
    """The weight of each field, and the level on which it stood; what is unknown weighs 0."""
    told: dict[str, Any] = {}
    for name in fields:
        place = int(row[f"gamma_{name}"])
        level = "unknown" if place < 0 else _levels(name)[::-1][place]
        told[name] = {"level": level, "bits": round(float(row[f"bits_{name}"]), 2)}
    home = {"level": "may be two of one household", "bits": round(float(row["bits_household"]), 2)}
    whole = {"bits": round(float(row["bits"]), 2), "fields": told | {"household": home}}
    return json.dumps(whole, sort_keys=True)
