"""Match keys: golden values per platform, and the laws every normaliser keeps."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activations.match_keys import RULES, match_key, match_keys, normalise

MESSY = " John.Doe+x@Gmail.com "
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
RULE_NAMES = [(platform, key) for platform, rules in RULES.items() for key in rules]


def sha256(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@pytest.mark.parametrize(
    ("platform", "key", "value", "expected"),
    [
        ("meta", "email", MESSY, "john.doe+x@gmail.com"),
        ("linkedin", "email", MESSY, "john.doe+x@gmail.com"),
        ("tiktok", "email", MESSY, "john.doe+x@gmail.com"),
        ("google", "email", MESSY, "johndoe@gmail.com"),
        ("google", "email", "Jane.Roe+x@Googlemail.com", "janeroe@googlemail.com"),
        ("google", "email", "Jane.Roe+x@example.com", "jane.roe+x@example.com"),
        ("google", "email", "+only@gmail.com", None),
        ("meta", "email", "no address", None),
        ("meta", "phone", "+1 (415) 555-0100", "14155550100"),
        ("meta", "phone", "0044 20 7946 0000", "442079460000"),
        ("google", "phone", "+1 (415) 555-0100", "+14155550100"),
        ("tiktok", "phone", "+1234567890123456", None),
        ("meta", "first_name", " Anne-Marie ", "anne-marie"),
        ("google", "first_name", " Anne-Marie ", "annemarie"),
        ("google", "last_name", "O'Neil Smith", "oneilsmith"),
        ("tiktok", "last_name", "O'Neil Smith", "o'neilsmith"),
        ("linkedin", "last_name", " O'Neil Smith ", "O'Neil Smith"),
        ("meta", "city", "St. Louis (MO) 63101", "stlouismo"),
        ("tiktok", "city", "St. Louis 1", "stlouis1"),
        ("meta", "postal_code", "94025-1234", "94025"),
        ("google", "postal_code", " 94025-1234 ", "94025-1234"),
        ("meta", "country", " US", "us"),
        ("google", "country", "us", "US"),
        ("google", "country", "USA", None),
        ("meta", "external_id", " P-1 ", "p-1"),
    ],
)
def test_values_are_normalised_as_each_platform_wants(platform, key, value, expected):
    assert normalise(platform, key, value) == expected


@pytest.mark.parametrize(
    ("platform", "key", "value", "expected"),
    [
        ("meta", "email", MESSY,
         "86500804d4aa2249bdf6687587eb061a86264d1e81d5a5c4750c88b2ec2d9093"),
        ("google", "email", MESSY,
         "06a240d11cc201676da976f7b49341181fd180da37cbe40a77432c0a366c80c3"),
        ("meta", "phone", "+1 415 555 0100",
         "5e7ec4c79ccac6e420876e65ad0e6b4b2ccf73ec3dccb50297bf2890a1ec73b9"),
        ("google", "phone", "+1 415 555 0100",
         "40d3f4e02db27d66cf4cfdda506c2c945f115a7955cc8491dda98ce5beabcda0"),
    ],
)  # fmt: skip
def test_hashes_are_those_of_sha256sum(platform, key, value, expected):
    assert match_key(platform, key, value) == expected


@pytest.mark.parametrize(
    ("platform", "key", "value"),
    [("google", "country", "US"), ("google", "postal_code", "94025"), ("tiktok", "city", "paris"),
     ("linkedin", "first_name", "Ann"), ("linkedin", "country", "US")],
)  # fmt: skip
def test_plain_keys_are_not_hashed(platform, key, value):
    assert match_key(platform, key, value) == value


def test_an_empty_value_is_no_key_and_never_the_hash_of_nothing():
    for platform, key in RULE_NAMES:
        for empty in (None, "", "  ", "\t\n"):
            assert match_key(platform, key, empty) is None, (platform, key, empty)


def test_a_hash_passes_through_and_is_not_hashed_again():
    hashed = sha256("john.doe@example.com")
    assert match_key("google", "email", hashed.upper()) == hashed
    assert match_key("meta", "email", hashed) == hashed
    md5 = "0123456789abcdef0123456789abcdef"
    assert match_key("meta", "external_id", md5) == md5
    assert match_key("tiktok", "external_id", md5) == sha256(md5)


def test_only_known_and_present_keys_are_returned():
    person = {"email": MESSY, "phone": None, "shoe_size": "42", "country": "de"}
    keys = match_keys("google", person)
    assert keys == {"email": sha256("johndoe@gmail.com"), "country": "DE"}


@given(rule=st.sampled_from(RULE_NAMES), value=st.text(max_size=40))
@settings(max_examples=400, deadline=None)
def test_normalising_twice_changes_nothing(rule, value):
    once = normalise(*rule, value)
    assert once is None or normalise(*rule, once) == once


@given(rule=st.sampled_from(RULE_NAMES), value=st.text(max_size=40))
@settings(max_examples=400, deadline=None)
def test_a_key_is_never_empty_nor_the_hash_of_nothing(rule, value):
    assert match_key(*rule, value) not in ("", EMPTY_HASH)
