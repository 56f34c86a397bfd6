"""Each ad platform's own error table, row by row, and what Google tells after an upload."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth import jwt

from activations.http import Response, TransportError
from activations.platforms import Conversion, google, google_token, meta
from activations.providers import Outcome

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
META = meta.Meta("token", "1")
GOOGLE = google.Google("token", "1", "2")


def conversions(count):
    return [
        Conversion(f"o{number}", "order_completed", NOW - timedelta(hours=20), Decimal(1), "USD",
                   "other", "granted", {"email": "a@example.com"})
        for number in range(count)
    ]  # fmt: skip


def told(status, body, **headers):
    return Response(status, headers, json.dumps(body).encode())


@pytest.mark.parametrize(("status", "error", "outcome"), [
    *[(400, {"code": code}, Outcome.RETRY) for code in (1, 2, 4, 17, 32, 341, 613, 80000, 80014)],
    *[(400, {"code": code}, Outcome.AUTH) for code in (3, 10, 102, 190, 200, 299)],
    (400, {"code": 100}, Outcome.PERMANENT), (400, {"code": 80015}, Outcome.PERMANENT),
    (400, {"code": 100, "is_transient": True}, Outcome.RETRY),
    (200, {"code": 190}, Outcome.AUTH), (200, {"code": 4}, Outcome.RETRY),
    (200, {"code": 100}, Outcome.PERMANENT), (500, {"code": 2}, Outcome.RETRY),
    (500, {"code": 999}, Outcome.AMBIGUOUS),
])  # fmt: skip
def test_meta_errors_count_by_code_even_with_http_200(status, error, outcome):
    verdict = meta.verdict(told(status, {"error": error}), NOW)
    assert (verdict.outcome, verdict.code) == (outcome, str(error["code"]))


def test_meta_tells_the_wait_in_its_usage_header():
    usage = {"1": [{"estimated_time_to_regain_access": 5}], "2": [
        {"estimated_time_to_regain_access": 12}, {"call_count": 100}]}  # fmt: skip
    error, header = b'{"error":{"code":4}}', "x-business-use-case-usage"
    answer = Response(400, {header: json.dumps(usage)}, error)
    assert meta.verdict(answer, NOW).retry_at == NOW + timedelta(minutes=12)
    broken = Response(400, {header: "{"}, error)
    assert meta.verdict(broken, NOW).retry_at is None


def test_meta_does_not_count_a_partial_receipt_as_accepted():
    (batch,) = META.plan(conversions(3))
    results = META.parse(batch, told(200, {"events_received": 2}), NOW)
    assert {one.outcome for one in results} == {Outcome.AMBIGUOUS}


def test_a_dataset_that_is_not_there_is_not_searched_for_by_halving():
    (batch,) = META.plan(conversions(8))
    refused = META.parse(batch, told(400, {"error": {"code": 100, "error_subcode": 33}}), NOW)
    assert META.split(batch, refused) == []


def test_a_budget_may_change_four_times_an_hour_by_our_own_count():
    changes = [NOW - timedelta(minutes=minutes) for minutes in (50, 40, 30, 20)]
    assert meta.next_budget_change_at(changes[:3], NOW) is None
    assert meta.next_budget_change_at(changes, NOW) == NOW + timedelta(minutes=40)
    assert meta.next_budget_change_at(changes, NOW + timedelta(minutes=11)) is None


def ads_failure(kind, code, **details):
    one = {"errorCode": {kind: code}, "details": details}
    return {"error": {"status": "X", "details": [{"errors": [one]}]}}


@pytest.mark.parametrize("wrap", [lambda body: body, lambda body: [body]])
@pytest.mark.parametrize(("status", "kind", "code", "outcome"), [
    (429, "quotaError", "RESOURCE_EXHAUSTED", Outcome.RETRY),
    (429, "quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED", Outcome.RETRY),
    (500, "internalError", "TRANSIENT_ERROR", Outcome.RETRY),
    (400, "databaseError", "CONCURRENT_MODIFICATION", Outcome.RETRY),
    (401, "authenticationError", "OAUTH_TOKEN_EXPIRED", Outcome.AUTH),
    (403, "authorizationError", "USER_PERMISSION_DENIED", Outcome.AUTH),
    (400, "campaignBudgetError", "BELOW_PER_DAY_MINIMUM", Outcome.PERMANENT),
    (400, "campaignBudgetError", "MONEY_AMOUNT_TOO_LARGE", Outcome.PERMANENT),
    (500, "internalError", "INTERNAL_ERROR", Outcome.AMBIGUOUS),
])  # fmt: skip
def test_google_ads_errors_count_by_their_failure(wrap, status, kind, code, outcome):
    verdict = google.verdict(told(status, wrap(ads_failure(kind, code))), NOW)
    assert (verdict.outcome, verdict.code, verdict.detail) == (outcome, code, kind)


def test_google_ads_tells_the_wait_inside_the_failure():
    body = ads_failure("quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED",
                       quotaErrorDetails={"retryDelay": "30s"})  # fmt: skip
    assert google.verdict(told(429, body), NOW).retry_at == NOW + timedelta(seconds=30)


@pytest.mark.parametrize(("limit", "resume"), [
    ("IngestionMutatePerMinutePerProject", NOW + timedelta(minutes=1)),
    ("IngestionMutatePerDayPerProject", datetime(2026, 3, 3, 8, tzinfo=UTC)),
])  # fmt: skip
def test_data_manager_tells_a_spent_minute_from_a_spent_day(limit, resume):
    (batch,) = GOOGLE.plan(conversions(1))
    body = {"error": {"status": "RESOURCE_EXHAUSTED", "details": [
        {"metadata": {"quota_limit": limit}}]}}  # fmt: skip
    (result,) = GOOGLE.parse(batch, told(429, body), NOW)
    assert (result.outcome, result.retry_at) == (Outcome.RETRY, resume)


@pytest.mark.parametrize(("status", "outcome"), [
    (400, Outcome.PERMANENT), (401, Outcome.AUTH), (403, Outcome.AUTH), (404, Outcome.PERMANENT),
    (500, Outcome.AMBIGUOUS), (503, Outcome.AMBIGUOUS), (504, Outcome.AMBIGUOUS),
    (200, Outcome.AMBIGUOUS),
])  # fmt: skip
def test_data_manager_statuses(status, outcome):
    (batch,) = GOOGLE.plan(conversions(2))
    assert {one.outcome for one in GOOGLE.parse(batch, told(status, {}), NOW)} == {outcome}


def test_rows_that_google_names_are_left_out_of_the_next_upload():
    (batch,) = GOOGLE.plan(conversions(4))
    fields = [{"field": "events.events[2].currency"}, {"field": "events[0].user_data"}]
    body = {"error": {"status": "INVALID_ARGUMENT", "details": [{"fieldViolations": fields}]}}
    results = GOOGLE.parse(batch, told(400, body), NOW)
    assert [(one.outcome, one.detail) for one in results] == [
        (Outcome.PERMANENT, "user_data"), (Outcome.RETRY, None),
        (Outcome.PERMANENT, "currency"), (Outcome.RETRY, None),
    ]  # fmt: skip
    (rest,) = GOOGLE.split(batch, results)
    assert [one.conversion_id for one in rest.items] == ["o1", "o3"]


def status(state, counts=()):
    one = {"requestStatus": state, "errorInfo": {"errorCounts": [
        {"reason": f"PROCESSING_ERROR_REASON_{reason}", "recordIndices": rows}
        for reason, rows in counts]}}  # fmt: skip
    return told(200, {"requestStatusPerDestination": [one]})


@pytest.mark.parametrize(("reason", "outcome"), [
    ("DUPLICATE_TRANSACTION_ID", Outcome.DUPLICATE), ("DUPLICATE_GCLID", Outcome.DUPLICATE),
    ("TOO_RECENT_CLICK", Outcome.RETRY), ("INTERNAL_ERROR", Outcome.RETRY),
    ("DENIED_CONSENT", Outcome.BLOCKED), ("NO_CONSENT", Outcome.BLOCKED),
    ("EVENT_TOO_OLD", Outcome.PERMANENT), ("CLICK_NOT_FOUND", Outcome.PERMANENT),
])  # fmt: skip
def test_processing_reasons_are_read_row_by_row(reason, outcome):
    (batch,) = GOOGLE.plan(conversions(3))
    results = GOOGLE.parse_status(batch, status("PARTIAL_SUCCESS", [(reason, [1])]), NOW)
    assert [one.outcome for one in results] == [Outcome.ACCEPTED, outcome, Outcome.ACCEPTED]
    assert results[1].code == reason


@pytest.mark.parametrize(("answer", "outcome"), [
    (status("SUCCESS"), Outcome.ACCEPTED), (status("PROCESSING"), Outcome.AMBIGUOUS),
    (status("FAILED", [("INVALID_FORMAT", [])]), Outcome.PERMANENT),
    (told(404, {}), Outcome.AMBIGUOUS), (TransportError("ambiguous", "X"), Outcome.AMBIGUOUS),
])  # fmt: skip
def test_a_status_that_says_nothing_of_rows_holds_for_all(answer, outcome):
    (batch,) = GOOGLE.plan(conversions(2))
    assert {one.outcome for one in GOOGLE.parse_status(batch, answer, NOW)} == {outcome}


def test_an_address_needs_all_four_parts():
    person = {"first_name": "A", "last_name": "B", "country": "US"}
    one = conversions(1)[0]
    whole = {**person, "postal_code": "94025"}
    sent = [
        GOOGLE.plan([Conversion(**{**vars(one), "person": {"email": "a@b.example", **parts}})])
        for parts in (person, whole)
    ]
    assert [b'"address"' in batch.content for (batch,) in sent] == [False, True]


def test_a_service_account_signs_for_both_apis():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    info = {"type": "service_account", "client_email": "x@y.example", "private_key": pem,
            "token_uri": "https://oauth2.googleapis.com/token"}  # fmt: skip
    request = google_token.token_request(json.dumps(info), NOW)
    form = parse_qs(request.content.decode())
    claims = jwt.decode(form["assertion"][0], verify=False)
    assert claims["iss"] == "x@y.example"
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["scope"].split() == list(google_token.SCOPES)
    assert pem not in repr(request)


def test_a_token_is_fetched_for_a_credential_file(tmp_path):
    info = {"type": "authorized_user", "client_id": "i", "client_secret": "s",
            "refresh_token": "r"}  # fmt: skip
    (tmp_path / "key.json").write_text(json.dumps(info))
    asked = []

    def answer(request):
        asked.append(str(request.url))
        return httpx.Response(200, json={"access_token": "t"})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        assert google_token.access_token(str(tmp_path / "key.json"), client, NOW) == "t"
    assert asked == [google_token.TOKEN_URL]


def test_a_refresh_token_is_exchanged_and_other_credentials_are_refused():
    info = {"type": "authorized_user", "client_id": "i", "client_secret": "s",
            "refresh_token": "r"}  # fmt: skip
    form = parse_qs(google_token.token_request(json.dumps(info), NOW).content.decode())
    assert form["grant_type"] == ["refresh_token"]
    with pytest.raises(ValueError, match="external_account"):
        google_token.token_request('{"type": "external_account"}', NOW)
    assert google_token.parse_token(told(200, {"access_token": "t"})) == "t"
    with pytest.raises(ValueError, match="400"):
        google_token.parse_token(told(400, {"error": "invalid_grant"}))
