"""Links by likeness on a simulated market: double cards found, families left apart.

Belongs here: precision and recall of the model against the truth. Keep out: what the loop makes
of the links (tests/loop).
"""

from pathlib import Path

import pandas as pd
import pytest

from ingestion.phones import e164
from ml import likeness
from ml.identity_changes import allowed
from ml.likeness import Likeness
from sandbox import market
from tests.sandbox.test_market import AS_OF, Simulation


@pytest.mark.verify
def test_double_cards_are_found_and_families_left_apart(tmp_path: Path) -> None:
    """A second card has no birth date; a family has one surname, one street, often one mailbox."""
    market.found(Simulation(people=6_000, days=30, seed=8), tmp_path, AS_OF)
    contacts = pd.read_csv(tmp_path / "landing" / "crm_contacts" / "history.csv", dtype=str)
    contacts = contacts.drop_duplicates("contact_id", keep="last")
    contacts["email"] = contacts["email"].str.strip().str.lower()
    contacts["phone"] = [
        e164(phone, country) if isinstance(phone, str) else None
        for phone, country in zip(contacts["phone"], contacts["country"], strict=True)
    ]
    owners = pd.read_parquet(tmp_path / "truth" / "identifiers")
    owners = owners[owners["identifier_type"] == "crm_contact_id"]
    person = owners.drop_duplicates("identifier_value").set_index("identifier_value")["person"]
    contacts["person"] = contacts["contact_id"].map(person)
    sizes = contacts["person"].value_counts()
    twins = int((sizes * (sizes - 1) // 2).sum())
    found = likeness.link(contacts.drop(columns="person"), AS_OF)
    assert isinstance(found, Likeness), found.reason
    named = contacts.dropna(subset="user_id").query("user_id != 'null'")
    accounts = {row.contact_id: {row.user_id} for row in named.itertuples()}
    links = found.links[allowed(found.links, accounts, [])]
    ends = [links[name].map(person) for name in likeness.PROPOSAL[:2]]
    is_true = ends[0] == ends[1]
    is_sure = links["match_probability"] >= likeness.ACCEPTED
    precision = is_true[is_sure].mean()
    recall, reviewed = is_true[is_sure].sum() / twins, is_true.sum() / twins
    print(
        f"market: {len(contacts)} contacts, {twins} double; accepted {int(is_sure.sum())}, "
        f"precision {precision:.4f}, recall {recall:.3f}, with reviews {reviewed:.3f}, "
        f"waiting {int((~is_sure).sum())} of which true {int(is_true[~is_sure].sum())}"
    )
    assert precision >= 0.95
    assert recall >= 0.95
