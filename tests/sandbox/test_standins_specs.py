"""Requests and stand-ins against the providers' published descriptions, where these are present.

The descriptions are not part of the project: set LOOPDRIVE_SHARED_SPECS to a folder of them.
Two promises: what the adapters send fits the description, and what the description refuses the
stand-in refuses too.
"""

import copy
import importlib.util
import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from activations import platforms, providers
from activations.http import Response
from activations.platforms import BudgetChange, Conversion
from activations.platforms.seam import BudgetReading
from sandbox import standins

SPECS = Path(os.environ.get("LOOPDRIVE_SHARED_SPECS", Path(__file__).parents[3] / "shared/specs"))
CHECKER = SPECS.parent / "tools" / "specmock.py"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    not CHECKER.exists(), reason=f"no published descriptions under {SPECS}"
)


@pytest.fixture(scope="module")
def spec():
    module = importlib.util.spec_from_file_location("specmock", CHECKER)
    checker = importlib.util.module_from_spec(module)
    module.loader.exec_module(checker)
    FormatChecker.checkers.setdefault("date-time", (is_date_time, ()))
    return lambda path: checker.Spec(str(SPECS / path))


@pytest.fixture
def servers(tmp_path):
    with standins.serve(tmp_path) as running:
        running.set_clock(NOW)
        yield running


def violations(description, request, base_url, query=""):
    target = request.url.removeprefix(base_url) + query
    operation, status, found, _ = description.check(
        request.method, target, request.headers, request.content
    )
    assert operation is not None, target
    return status, found


def is_date_time(value):
    """RFC 3339, which the JSON Schema library checks only with a package of its own."""
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    return not isinstance(value, str) or re.fullmatch(pattern, value) is not None


@pytest.fixture(scope="module")
def client():
    with httpx.Client(trust_env=False) as opened:
        yield opened


LENIENT = ("Idempotency-Key", "x-batch-validation")


def post(client, request, content):
    headers = dict(request.headers)
    if content != request.content:  # another body under the same key is refused for its key
        headers = {k: v for k, v in headers.items() if k not in LENIENT}
    return client.request(request.method, request.url, headers=headers, content=content)


def mail_items(count):
    return [
        providers.Item(
            f"k{number}", f"p{number}@example.com", "welcome", "email_none_reminder",
            "shop@example.com", f"Hello {number}", "Hi", f"<p>Hello {number}</p>", "The Shop",
            (("List-Unsubscribe", "<https://shop.example/u>"),),
        )
        for number in range(count)
    ]  # fmt: skip


def conversion(**changes):
    person = {"email": "a@example.com", "phone": "+14155550100", "first_name": "A",
              "last_name": "B", "postal_code": "94025", "country": "US"}  # fmt: skip
    return Conversion(
        "o1", "order_completed", NOW - timedelta(hours=20), Decimal("19.90"), "USD", "website",
        **{"consent": "granted", "person": person, "click_id_type": "gclid", "click_id": "c",
           "client_user_agent": "Mozilla/5.0", "event_source_url": "https://shop.example/",
           **changes},
    )  # fmt: skip


def sendgrid_request(servers, count=3):
    provider = providers.provider("sendgrid", servers.credentials, servers.urls["sendgrid"])
    return provider.request(provider.plan(mail_items(count))[0])


def twilio_request(servers):
    provider = providers.provider("twilio", servers.credentials, servers.urls["twilio"])
    item = providers.Item(
        "k1", "+14155550100", "welcome", "sms_none_reminder", "+14155550000", "Hello é",
        status_callback="https://gate.example/webhooks/twilio?message_key=k1",
    )  # fmt: skip
    return provider.request(provider.plan([item])[0])


ADDRESSES = {"resend": "p{}@example.com", "whatsapp": "+4477009001{:02d}", "fcm": "a:b{}"}


def message_request(name, servers, count=1):
    provider = providers.provider(
        name, servers.credentials, servers.urls[name], servers.accounts.get(name)
    )
    items = [
        replace(one, address=ADDRESSES[name].format(number))
        for number, one in enumerate(mail_items(count))
    ]
    return provider.request(provider.plan(items)[0])


def platform(name, servers):
    token = servers.credentials[f"{name}_access_token"]
    return platforms.platform(name, token, servers.accounts[name], servers.urls)


def test_mail_send_fits_the_description(spec, servers):
    request = sendgrid_request(servers, 1000)
    description = spec("sendgrid/tsg_mail_v3.json")
    assert violations(description, request, servers.urls["sendgrid"]) == (200, [])


def test_messages_fit_the_description(spec, servers):
    description = spec("twilio/twilio_api_v2010.messages.json")
    description.strict_forms = True
    request = twilio_request(servers)
    assert violations(description, request, servers.urls["twilio"]) == (200, [])


DESCRIPTIONS = {
    "resend": "resend/resend.json",
    "whatsapp": "whatsapp/business-messaging-api_v23.0.overlay.json",
    "fcm": "fcm/fcm.v1.openapi.json",
}


@pytest.mark.parametrize(("name", "count"), [("resend", 100), ("whatsapp", 1), ("fcm", 1)])
def test_messages_of_the_other_vendors_fit_their_descriptions(spec, servers, name, count):
    request = message_request(name, servers, count)
    assert violations(spec(DESCRIPTIONS[name]), request, servers.urls[name]) == (200, [])


def test_an_installation_id_fits_fcms_description(spec, servers):
    provider = providers.provider(
        "fcm", servers.credentials, servers.urls["fcm"], servers.accounts["fcm"]
    )
    item = replace(mail_items(1)[0], address="cBWW9bqOQ_m3tyXvLuSQsM")
    request = provider.request(provider.plan([item])[0])
    assert violations(spec(DESCRIPTIONS["fcm"]), request, servers.urls["fcm"]) == (200, [])


def test_meta_budgets_fit_the_description(spec, servers):
    """Meta describes the token as a query parameter; ours travels in a header, out of logs."""
    description = spec("meta/meta_graph_subset.openapi.json")
    change = BudgetChange("p", "123", Decimal("120.50"), "USD")
    request = platform("meta", servers).write_budget(change, BudgetReading(None))
    found = violations(description, request, servers.urls["meta"], "?access_token=in-header")
    assert found == (200, [])


def test_meta_conversions_fit_the_schema(servers):
    schema = json.loads((SPECS / "meta" / "capi_request.schema.json").read_text())
    meta = platform("meta", servers)
    fbclid = {"click_id_type": "fbclid"}
    for one in (conversion(), conversion(**fbclid), conversion(consent="unspecified", **fbclid)):
        (batch,) = meta.plan([one])
        assert list(Draft202012Validator(schema).iter_errors(json.loads(batch.content))) == []


def test_google_budgets_fit_the_description(spec, servers):
    description = spec("google-ads/google_ads_v26_subset.openapi.json")
    change = BudgetChange("p", "123", Decimal("120.50"), "USD")
    reading = BudgetReading(None, "customers/1/campaignBudgets/2")
    request = platform("google", servers).write_budget(change, reading)
    assert violations(description, request, servers.urls["google-ads"]) == (200, [])


@pytest.mark.parametrize("consent", ["granted", "unspecified"])
def test_google_conversions_fit_the_description(spec, servers, consent):
    description = spec("google-datamanager/datamanager.v1.openapi.json")
    google = platform("google", servers)
    (batch,) = google.plan([conversion(consent=consent)])
    request = google.request(batch)
    assert violations(description, request, servers.urls["datamanager"]) == (200, [])
    status = google.status_request("r1")
    assert violations(description, status, servers.urls["datamanager"]) == (200, [])


def spoilt(body):
    """Every body that differs from a valid one by one missing, mistyped or strange value."""
    for path in leaves(body):
        for change in ("drop", [], "?", 7, {"strange": 1}):
            variant = copy.deepcopy(body)
            holder = variant
            for step in path[:-1]:
                holder = holder[step]
            if change == "drop":
                del holder[path[-1]]
            else:
                holder[path[-1]] = change
            yield variant


def leaves(value, path=()):
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    for step, entry in steps:
        yield (*path, step)
        if isinstance(entry, dict | list):
            yield from leaves(entry, (*path, step))


def conversions_request(servers, client):
    google = platform("google", servers)
    return google.request(google.plan([conversion()])[0])


def budget_request(servers, client):
    google = platform("google", servers)
    asked = google.read_budget("brand")
    answer = post(client, asked, asked.content)
    reading = google.budget_of(Response(200, {}, answer.content), "USD")
    return google.write_budget(BudgetChange("p", "brand", Decimal(120), "USD"), reading)


@pytest.mark.parametrize(
    ("path", "door", "build"),
    [
        (
            "sendgrid/tsg_mail_v3.json",
            "sendgrid",
            lambda servers, client: sendgrid_request(servers),
        ),
        (
            "google-datamanager/datamanager.v1.openapi.json",
            "datamanager",
            conversions_request,
        ),
        ("google-ads/google_ads_v26_subset.openapi.json", "google-ads", budget_request),
        *(
            (path, name, lambda servers, client, name=name: message_request(name, servers))
            for name, path in DESCRIPTIONS.items()
        ),
    ],
    ids=["sendgrid", "datamanager", "google-ads", *DESCRIPTIONS],
)
def test_what_the_description_refuses_the_stand_in_refuses(
    spec, servers, client, path, door, build
):
    description = spec(path)
    request = build(servers, client)
    assert post(client, request, request.content).status_code < 300
    target = request.url.removeprefix(servers.urls[door])
    refused = 0
    for body in spoilt(json.loads(request.content)):
        content = json.dumps(body).encode()
        _, _, found, _ = description.check(request.method, target, request.headers, content)
        if found:
            refused += 1
            assert post(client, request, content).status_code in (400, 422), (body, found)
    assert refused > 8


def test_meta_conversions_that_the_schema_refuses_the_stand_in_refuses(servers, client):
    schema = Draft202012Validator(
        json.loads((SPECS / "meta" / "capi_request.schema.json").read_text())
    )
    meta = platform("meta", servers)
    request = meta.request(meta.plan([conversion(click_id_type="fbclid")])[0])
    refused = 0
    for body in spoilt(json.loads(request.content)):
        if not schema.is_valid(body):
            refused += 1
            answer = post(client, request, json.dumps(body).encode())
            assert answer.status_code == 400, body
    assert refused > 20


def test_the_chat_answer_fits_the_description(servers, client):
    document = json.loads((SPECS / "openai" / "openai.trim.json").read_text())
    path = "/chat/completions"
    answers = document["paths"][path]["post"]["responses"]["200"]["content"]
    schema = {**document, **answers["application/json"]["schema"]}
    headers = {"Authorization": f"Bearer {servers.credentials['openai_api_key']}"}
    body = {"model": "m", "messages": [{"role": "user", "content": "Write."}]}
    told = client.post(servers.urls["openai"] + path, json=body, headers=headers).json()
    assert list(Draft202012Validator(schema).iter_errors(told)) == []
