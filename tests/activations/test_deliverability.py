"""Deliverability: segments as carriers count them, and what the lint holds against an e-mail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activations import copy, deliverability, programs, variants
from tests.activations.world import BRAND

HOSTS = {"shop.fernway.example", "go.fernway.example"}
ARMS = {arm.name: arm for arm in programs.load("win_back").arms}


@pytest.mark.parametrize(
    ("text", "encoding", "units", "count"),
    [
        ("", "GSM-7", 0, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        # 152 + an escaped sign do not fit into 153: the sign begins the second segment.
        ("a" * 152 + "€" + "b" * 152, "GSM-7", 306, 3),
        ("é" * 160, "GSM-7", 160, 1),
        ("ê", "UCS-2", 1, 1),
        ("ê" * 70, "UCS-2", 70, 1),
        ("ê" * 71, "UCS-2", 71, 2),
        ("😀" * 35, "UCS-2", 70, 1),
        # 67 units hold 33 pairs, not 33 and a half.
        ("😀" * 67, "UCS-2", 134, 3),
        ("a" * 100 + "’", "UCS-2", 101, 2),
    ],
)
def test_a_text_is_counted_as_carriers_count_it(
    text: str, encoding: str, units: int, count: int
) -> None:
    assert deliverability.segments(text) == deliverability.Segments(encoding, units, count)


@given(st.text(alphabet="aé€[êñ😀中", max_size=400))
def test_segments_lie_between_their_bounds(text: str) -> None:
    made = deliverability.segments(text)
    joined, alone = deliverability.JOINED[made.encoding], deliverability.ALONE[made.encoding]
    if made.count == 1:
        assert made.units <= alone
    else:
        assert made.units > alone
        assert -(-made.units // joined) <= made.count <= -(-made.units // (joined - 1))


def page(body: str) -> str:
    return f"<html><head><title>{'x' * 500}</title></head><body>{body}</body></html>"


IMAGE = '<img src="https://shop.fernway.example/a.png" alt="a mug">'


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="https://bit.ly/x">go</a>', "a link to another domain: bit.ly"),
        ('<a href="https://shop.fernway.example.evil.example">go</a>', "another domain"),
        ('<a href="http://shop.fernway.example">go</a>', "not https: http"),
        ('<a href="/sale">go</a>', "not https: no scheme"),
        (IMAGE, "1 images beside 0 characters"),
        (IMAGE + "x" * 400, "1 images beside 400 characters"),
        (IMAGE.replace(' alt="a mug"', "") + "x" * 500, "without alt text"),
        ("x" * 110_000, "mailboxes show"),
        ("<script>1</script>", "mailboxes remove: script"),
        ("<form></form>", "mailboxes remove: form"),
    ],
)
def test_the_lint_of_an_email_names_what_is_wrong(body: str, problem: str) -> None:
    (found,) = deliverability.lint_html(page(body), HOSTS)
    assert problem in found


def test_an_email_with_words_beside_its_image_and_links_home_is_fine() -> None:
    body = IMAGE + "x" * 401 + '<a href="https://go.fernway.example/l/1">go</a>'
    assert deliverability.lint_html(page(body), HOSTS) == []


@pytest.mark.parametrize("sign", ["{{ name", "%}", "*|FNAME|*", "%%FIRST%%", "[[name]]", "<%= x"])
def test_fields_of_any_tool_that_nobody_filled_in_are_found(sign: str) -> None:
    assert deliverability.left_over_fields(f"Hi {sign},", None)
    body = f"Hi there {{{{ '{sign.replace(chr(39), '')}' }}}}"
    found = copy.lint("Hello", body, ARMS["email_none_news"], "win_back", BRAND)
    assert any("left over" in one or "template syntax" in one for one in found)


def test_shouting_is_found_and_a_code_is_not() -> None:
    assert deliverability.spam_words("COME BACK HERE TODAY") == ["three words in capitals"]
    assert deliverability.spam_words("Use WINBACK20 at FERNWAY today") == []
    assert deliverability.spam_words("Free money!!!") == ["spam word: free money", "spam word: !!!"]


def test_every_shipped_word_passes() -> None:
    for name in ("welcome", "abandoned_cart", "win_back"):
        program = programs.load(name)
        arms = {arm.name: arm for arm in program.arms}
        for words in variants.shipped(program):
            found = copy.lint(words.subject, words.body, arms[words.arm], name, BRAND)
            assert found == [], (name, words.arm)
