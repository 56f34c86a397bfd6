"""Links by likeness find planted and published twins, and say the same every time.

Belongs here: precision and recall on labelled contacts, refusals, the explanation. Keep out: what
guards make of a link (test_identity_changes.py).
"""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from ml import likeness
from ml.cards import Refusal
from ml.likeness import Likeness

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
# Names that the published sets have for what a contact card has.
FEBRL = {
    "rec_id": "contact_id",
    "given_name": "first_name",
    "surname": "last_name",
    "suburb": "city",
    "postcode": "postal_code",
    "date_of_birth": "birth_date",
    "address_1": "street",
}
FAKE = {"unique_id": "contact_id", "surname": "last_name", "dob": "birth_date"}
SYLLABLES = ("ka", "ro", "mi", "ten", "lu", "sa", "vor", "el", "ni", "ba", "do", "ri", "an", "mo")


def planted(count: int, twins: int, seed: int = 4) -> pd.DataFrame:
    """Cards of `count` people, the first `twins` of them twice, the second time with a fault."""
    draw = random.Random(seed)

    def word(parts: int) -> str:
        return "".join(draw.choice(SYLLABLES) for _ in range(parts))

    rows = []
    for person in range(count):
        row = {
            "contact_id": f"C{person}",
            "first_name": word(2),
            "last_name": word(3),
            "birth_date": f"{draw.randrange(1950, 2005)}-{draw.randrange(1, 13):02d}-11",
            "city": word(2),
            "postal_code": str(draw.randrange(10_000, 99_999)),
            "email": f"{word(3)}{person}@example.com",
        }
        rows.append(row)
        if person < twins:
            fault = draw.choice(("email", "postal_code", "city", "birth_date"))
            rows.append(row | {"contact_id": f"C{person}-2", fault: None, "first_name": row[
                "first_name"][:-1] if draw.random() < 0.3 else row["first_name"]})  # fmt: skip
    return pd.DataFrame(rows)


def linked(found: Likeness | Refusal, threshold: float) -> pd.DataFrame:
    assert isinstance(found, Likeness), found.reason
    return found.links[found.links["match_probability"] >= threshold]


def f1(links: pd.DataFrame, cluster: pd.Series) -> tuple[float, float, float]:
    """Precision, recall and F1 of pairs, against the true cluster of each contact."""
    sizes = cluster.value_counts()
    true = int((sizes * (sizes - 1) // 2).sum())
    same = links["left_contact_id"].map(cluster) == links["right_contact_id"].map(cluster)
    precision, recall = same.mean(), same.sum() / true
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_planted_twins_are_found_and_told_the_same_in_any_order() -> None:
    contacts = planted(400, 60)
    found = likeness.link(contacts, AS_OF)
    cluster = contacts.set_index("contact_id").index.to_series().str.removesuffix("-2")
    precision, recall, _ = f1(linked(found, likeness.ACCEPTED), cluster)
    assert precision == 1
    assert recall >= 0.95
    shuffled = contacts.sample(frac=1, random_state=3)
    again = likeness.link(shuffled, AS_OF)
    assert isinstance(found, Likeness)
    assert isinstance(again, Likeness)
    pd.testing.assert_frame_equal(again.links, found.links)
    assert again.card == found.card
    told = json.loads(found.links["explanation"][0])
    assert set(told["fields"]) == {*found.card.metrics["fields"], "household"}
    values = {str(value) for value in contacts.drop(columns="contact_id").to_numpy().ravel()}
    assert not [value for value in values if f'"{value}"' in found.links["explanation"].sum()]


@pytest.mark.parametrize(("count", "twins", "why"), [(150, 60, "contacts"), (300, 5, "pairs")])
def test_too_little_to_learn_from_is_refused(count: int, twins: int, why: str) -> None:
    found = likeness.link(planted(count, min(twins, 20)), AS_OF)
    assert isinstance(found, Refusal)
    assert why in found.reason


@pytest.mark.verify
def test_febrl_4_without_the_social_security_number(shared_data: Path) -> None:
    parts = [
        pd.read_csv(shared_data / "febrl" / f"dataset4{part}.csv", skipinitialspace=True, dtype=str)
        for part in "ab"
    ]
    contacts = pd.concat(parts, ignore_index=True).rename(columns=FEBRL)
    cluster = contacts.set_index("contact_id").index.to_series().str.split("-").str[1]
    links = linked(likeness.link(contacts.drop(columns="soc_sec_id"), AS_OF), likeness.ACCEPTED)
    precision, _, score = f1(links, cluster)
    assert score >= 0.99
    assert precision >= 0.999


@pytest.mark.verify
def test_fake_1000_against_its_clusters_and_its_clerical_labels(shared_data: Path) -> None:
    """Up to seven faulty cards a person, many with two fields only: measured, not promised."""
    contacts = pd.read_csv(shared_data / "splink" / "fake_1000.csv", dtype=str).rename(columns=FAKE)
    found = likeness.link(contacts.drop(columns="cluster"), AS_OF)
    cluster = contacts.set_index("contact_id")["cluster"]
    precision, recall, score = f1(linked(found, likeness.ACCEPTED), cluster)
    assert precision == 1
    assert recall >= 0.5
    assert score >= 0.66
    labels = pd.read_csv(shared_data / "splink" / "fake_1000_labels.csv", dtype=str)
    ends = labels[["unique_id_l", "unique_id_r"]].apply(lambda row: frozenset(row), axis=1)
    is_match = labels["clerical_match_score"].astype(float) >= 0.5
    links = linked(found, likeness.PROPOSED)
    said = {frozenset(pair) for pair in links.iloc[:, :2].itertuples(index=False, name=None)}
    is_linked = ends.isin(said)
    hits = int((is_linked & is_match).sum())
    labelled = 2 * hits / int(is_linked.sum() + is_match.sum())
    print(f"fake_1000: F1 {score:.3f} at 0.99; {labelled:.3f} on clerical labels at 0.80")
    assert hits == int(is_linked.sum()), "a pair was linked that clerks called different"
    assert labelled >= 0.78
