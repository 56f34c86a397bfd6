"""The Senzing truth set: exactly the clusters that shared proofs of identity can make.

Belongs here: what deterministic evidence finds among awkward cases, written down from the tables
of shared identifiers before anything was resolved. Keep out: names and places (test_likeness.py).
"""

from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from ingestion.phones import e164
from ml.identity import resolve
from ml.identity_rules import Rules, TypeRule

# A document is one person's; addresses and telephones as the house rules have them.
COLUMNS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "PASSPORT_NUMBER": "passport",
    "DRIVERS_LICENSE_NUMBER": "licence",
    "SSN_NUMBER": "social_security",
    "NATIONAL_ID_NUMBER": "national_id",
}
RULES = Rules(
    {
        **{
            kind: TypeRule(2, is_unique=True)
            for kind in ("passport", "licence", "social_security", "national_id")
        },
        "email": TypeRule(3, max_per_person=5),
        "phone": TypeRule(4, max_per_person=5),
    }
)
# With more records than this an address or telephone is shared and links nobody.
MOST_RECORDS = 3
# Written down from which identifiers the records share; every other record stands alone.
#   by e-mail     1003 1004 | 1037 1038 | 1047 1048 1049 | 1085 1086 | 1087 1088 | 1091 1092
#                 1097 1098 | 1099 1100 | 1101 1102 | 2101 2102
#                 not by Kusha123@hmail.com (5 records) nor info@ca-state.gov (21)
#   by telephone  1001 1002 | 1015 1018 | 1086 1092 | 2071 2072 | 2181 2182, and in two spellings
#                 1059 1060 | 1061 1062 | 2062 2063 | 2121 2122
#   by passport   1043 1045 | 1044 1046 | 1050 1051 1052 | 1053 1055 | 1064 1065 | 1081 1082
#                 1083 1084
#   by licence    1005 1006 | 1054 1056 | 1065 1066 | 1093 1094 | 1095 1096 | 1103 1104
#   by number     1009 1014 | 1015 1017 | 1020 1021 | 1069 1070 | 1071 1072 | 1079 1080
EXPECTED = """
    1001 1002; 1003 1004; 1005 1006; 1009 1014; 1015 1017 1018; 1020 1021; 1037 1038; 1043 1045;
    1044 1046; 1047 1048 1049; 1050 1051 1052; 1053 1055; 1054 1056; 1059 1060; 1061 1062;
    1064 1065 1066; 1069 1070;
    1071 1072; 1079 1080; 1081 1082; 1083 1084; 1085 1086 1091 1092; 1087 1088; 1093 1094;
    1095 1096; 1097 1098; 1099 1100; 1101 1102; 1103 1104; 2062 2063; 2071 2072;
    2101 2102; 2121 2122; 2181 2182
"""
# Namesakes with one telephone, whom only names or birth dates tell apart: two Ellies, two Annas.
NAMESAKES = {
    *(frozenset(pair) for pair in (("1085", "1091"), ("1085", "1092"), ("1086", "1091"))),
    *(frozenset(pair) for pair in (("1086", "1092"), ("2181", "2182"))),
}


@pytest.fixture(scope="module")
def records(shared_data: Path) -> pd.DataFrame:
    folder = shared_data / "senzing"
    parts = [
        pd.read_csv(folder / f"{name}.csv", dtype=str)
        for name in ("customers", "reference", "watchlist")
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def clusters(records: pd.DataFrame) -> set[frozenset[str]]:
    """Records by person, of those persons that have more than one."""
    edges = _edges(records)
    nobody = pd.DataFrame(columns=["identifier_type", "identifier_value", "first_seen_at"])
    found = resolve(edges, nobody, RULES).clusters
    of_records = found[found["identifier_type"] == "record"]
    groups = of_records.groupby("cluster_id")["identifier_value"].agg(frozenset)
    return {group for group in groups if len(group) > 1}


def _edges(records: pd.DataFrame) -> pd.DataFrame:
    long = records.melt("RECORD_ID", list(COLUMNS), value_name="right_value").dropna()
    long["right_type"] = long["variable"].map(COLUMNS)
    phones = long["right_type"] == "phone"
    long.loc[phones, "right_value"] = long.loc[phones, "right_value"].map(lambda p: e164(p, "US"))
    long["right_value"] = long["right_value"].str.lower()
    long = long.dropna(subset="right_value").drop_duplicates()
    held = long.groupby(["right_type", "right_value"])["RECORD_ID"].transform("nunique")
    can_be_shared = long["right_type"].isin(["email", "phone"])
    return pd.DataFrame(
        {
            "left_type": "record",
            "left_value": long["RECORD_ID"],
            "right_type": long["right_type"],
            "right_value": long["right_value"],
            "evidence_count": 1,
            "first_seen_at": pd.Timestamp("2026-01-01", tz="UTC"),
            "reason": pd.Series(None, index=long.index, dtype=object).mask(
                can_be_shared & (held > MOST_RECORDS), "shared_identifier"
            ),
        }
    )


def test_exactly_the_clusters_of_shared_proofs_are_found(clusters: set[frozenset[str]]) -> None:
    assert clusters == {frozenset(group.split()) for group in EXPECTED.split(";")}


def test_what_they_are_worth_against_the_key(
    clusters: set[frozenset[str]], shared_data: Path
) -> None:
    key = pd.read_csv(shared_data / "senzing" / "actual_truthset_key.csv", dtype=str)
    true = {
        frozenset(pair)
        for group in key.groupby("CLUSTER_ID")["RECORD_ID"].agg(list)
        for pair in combinations(group, 2)
    }
    found = {frozenset(pair) for group in clusters for pair in combinations(sorted(group), 2)}
    print(f"senzing: {len(found & true)} of {len(true)} pairs, {len(found - true)} wrong")
    assert found - true == NAMESAKES
    assert len(found & true) / len(true) >= 0.35
