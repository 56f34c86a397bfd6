"""A small rehearsal of sending with everything failing at random; `make chaos` is the large one."""

import pytest

from tests.chaos.rehearsal import rehearse

SEED = 20260327


@pytest.mark.verify
def test_the_books_are_right_whatever_fails(capsys: pytest.CaptureFixture[str]) -> None:
    books = rehearse(300, SEED, print)
    print("\n".join(books.lines()))
    assert books.planned == 300
    assert books.broken == dict.fromkeys(books.broken, 0), capsys.readouterr().out
    assert books.statuses["accepted"] + books.statuses["delivered"] > 150
