"""Copy: what a person reads, what the lint refuses, what a model may draft, what is approved."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from activations import copy, drafts, programs, reviews, variants
from activations.copy import CopyError, Recipient
from activations.reviews import ReviewError
from tests.activations.world import AS_OF, BRAND, World
from warehouse.settings import SecretSettings

PROGRAM = programs.load("win_back")
ARMS = {arm.name: arm for arm in PROGRAM.arms}
EMAIL, SMS, OFFER = ARMS["email_none_news"], ARMS["sms_none_news"], ARMS["email_20_discount"]


def rendered(body: str, first_name: str | None, arm: programs.Arm = EMAIL) -> copy.Rendered:
    to = copy.links(BRAND, "win_back", arm, "k" * 32, b"key")
    return copy.render(
        "Hello {{ first_name }}", body, arm, "win_back", Recipient(first_name, "Mug"), BRAND, to
    )


@pytest.mark.parametrize("name", [None, "", "  ", "http://spam.example", "x1", "{{ 7*7 }}", "A@B"])
def test_a_name_that_is_none_falls_back(name: str | None) -> None:
    assert rendered("Hi {{ first_name }},", name).text.startswith("Hi there,")


def test_values_are_never_run_as_templates_or_as_html() -> None:
    out = rendered("Hi {{ first_name }}, {{ item }}", "O'Neil-Smith")
    assert "O&#39;Neil-Smith" in (out.html or "")
    to = copy.links(BRAND, "win_back", EMAIL, "k", b"key")
    hostile = Recipient("Ada", "<script>{{ brand }}</script>")
    shown = copy.render("x", "{{ item }}", EMAIL, "win_back", hostile, BRAND, to)
    assert "<script>" not in (shown.html or "")
    assert "{{ brand }}" in shown.text


def test_the_sandbox_refuses_to_reach_out() -> None:
    with pytest.raises(CopyError):
        rendered("{{ first_name.__class__.__mro__ }}", "Ada")
    with pytest.raises(CopyError):
        rendered("{{ password }}", "Ada")


def test_a_text_is_one_gsm_segment_whatever_the_name() -> None:
    body = "{{ brand }}: Hi {{ first_name }}, news: {{ link }} Reply STOP to opt out"
    for name in ("Zoë", "Łukasz", "Владимир", "Maximiliana-Alexandrine Wilhelmina"):
        assert copy.lint_sms(rendered(body, name, SMS).text) == []
    assert "Hi there," in rendered(body, "Владимир", SMS).text


@pytest.mark.parametrize(
    ("arm", "subject", "body", "problem"),
    [
        (EMAIL, "Hi", "Hello {{ last_name }}", "unknown merge field: last_name"),
        (EMAIL, "Hi", "Hello {{ first_name", "template syntax"),
        (EMAIL, None, "Hello", "no subject"),
        (EMAIL, "Act now", "Hello", "spam word: act now"),
        (EMAIL, "Hi", "See https://elsewhere.example", "a link of its own"),
        (EMAIL, "Hi", "Now 30% off", "promises an offer"),
        (OFFER, "Hi", "Something nice", "does not state its offer"),
        (SMS, None, "{{ brand }}: hello {{ link }}", "no STOP"),
        (SMS, None, "{{ brand }} „hello“ {{ link }} STOP", "outside GSM-7"),
        (SMS, None, "word " * 40 + "STOP", "septets"),
    ],
)
def test_the_lint_names_what_is_wrong(
    arm: programs.Arm, subject: str | None, body: str, problem: str
) -> None:
    found = copy.lint(subject, body, arm, "win_back", BRAND)
    assert any(problem in one for one in found), found


def test_the_draw_among_variants_is_even_and_repeatable(world: World) -> None:
    world.program("win_back")
    with world.warehouse.transaction() as connection:
        library = variants.library(connection, "win_back")
    picks = [library.pick("email_none_news", None, "en-GB", str(n)) for n in range(1000)]
    shares = {one.variant_id: picks.count(one) / 1000 for one in picks}
    assert len(shares) == 2
    assert all(0.45 < share < 0.55 for share in shares.values())
    assert picks[7] == library.pick("email_none_news", "unknown persona", "fr", "7")
    with pytest.raises(LookupError):
        library.pick("push_none_news", None, None, "1")


class Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that always writes the same words."""

    prompts: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Model.prompts.append(body["messages"][0]["content"])
        words = {"subject": "Hello", "body": "Hi {{ first_name }}, come by. Reply STOP to opt out"}
        message = {"role": "assistant", "content": json.dumps(words)}
        answer = {
            "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }  # fmt: skip
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    Model.prompts.clear()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()


def test_without_key_and_address_there_is_no_writer() -> None:
    assert drafts.open_writer(SecretSettings()) is None


def test_a_models_words_wait_for_approval_of_exactly_those_words(world: World, server: str) -> None:
    program = world.program("win_back")
    secrets = SecretSettings(llm_base_url=server, openai_api_key=SecretStr("k"))
    writer = drafts.open_writer(secrets)
    assert writer is not None
    assert drafts.draft(world.warehouse, program, BRAND, writer, AS_OF) == len(program.arms)
    assert drafts.draft(world.warehouse, program, BRAND, writer, AS_OF) == 0
    assert len(Model.prompts) == len(program.arms)
    assert all(BRAND.voice in prompt for prompt in Model.prompts)
    with world.warehouse.transaction() as connection:
        before = variants.library(connection, "win_back")
    assert all(one.body.find("come by") < 0 for one in before.variants)
    waiting = {row["subject_id"]: row for row in reviews.open_reviews(world.warehouse)}
    drafted = world.warehouse.rows(
        "select variant_id, arm, content_hash, lint from delivery.copy_variants"
        " where origin = 'llm'"
    )
    fine = next(row for row in drafted if row["arm"] == "email_none_news")
    deep = next(row for row in drafted if row["arm"] == "email_20_discount")
    review = waiting[fine["variant_id"]]["review_id"]
    with pytest.raises(ReviewError, match="changed since"):
        reviews.decide(world.warehouse, review, "approved", "me", AS_OF, seen="other words")
    with pytest.raises(ReviewError, match="needs the content hash"):
        reviews.decide(world.warehouse, review, "approved", "me", AS_OF)
    reviews.decide(world.warehouse, review, "approved", "me", AS_OF, seen=fine["content_hash"])
    with pytest.raises(ReviewError, match="decided already"):
        reviews.decide(world.warehouse, review, "rejected", "me", AS_OF)
    assert deep["lint"]["problems"] == ["does not state its offer"]
    with pytest.raises(ReviewError, match="fail their lint"):
        reviews.decide(
            world.warehouse, waiting[deep["variant_id"]]["review_id"], "approved", "me", AS_OF,
            seen=deep["content_hash"],
        )  # fmt: skip
    with world.warehouse.transaction() as connection:
        after = variants.library(connection, "win_back")
    assert [one.arm for one in after.variants if "come by" in one.body] == ["email_none_news"]
