"""Phones as E.164: recovered from the ways people write them."""

import pytest

from ingestion.phones import e164


@pytest.mark.parametrize(
    ("given", "region", "expected"),
    [
        ("07700 900123", "GB", "+447700900123"),
        ("+44 (0)7700 900123", "DE", "+447700900123"),
        ("0044 7700 900-123", "GB", "+447700900123"),
        ("030/901820", "DE", "+4930901820"),
        ("(212) 555-0147", "US", "+12125550147"),
        ("12", "DE", None),
        ("999", "GB", None),
        ("call me", "GB", None),
        ("07700 900123 456 789", "GB", None),
    ],
)
def test_numbers_are_read_as_dialled_from_the_region(
    given: str, region: str, expected: str | None
) -> None:
    assert e164(given, region) == expected
