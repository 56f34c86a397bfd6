"""Which vendors a workspace has, the lines to them in each mode, and the versions they speak.

Keep out: what is sent over a line (tests/activations).
"""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from activations import http
from activations import providers as messaging
from activations.platforms import google_token
from activations.providers import Item, MissingCredentialError, Outcome
from dagster_project import providers
from warehouse import ConfigError, Settings, load_settings

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
OPTIONS = {
    "whatsapp": {"phone_number_id": "1", "template": "t"}, "fcm": {"project_id": "p"},
    "webhook": {"channel": "push"},
}  # fmt: skip
ADDRESSES = {"email": "a@example.com", "sms": "+447700900123", "whatsapp": "+447700900123",
             "push": "a:b"}  # fmt: skip
ENABLED = {
    name: {"enabled": True, "options": OPTIONS.get(name, {})} for name in messaging.NAMES
} | {"webhook": {"enabled": True, "options": OPTIONS["webhook"],
                 "base_url": "https://hooks.example/in"}}  # fmt: skip
every_vendor = pytest.mark.parametrize("name", messaging.NAMES)


def settings(folder: Path, environ: dict[str, str] | None = None, **config: Any) -> Settings:
    path = folder / "loopdrive.yml"
    path.write_text(yaml.safe_dump({"workspace": "shop"} | config))
    return load_settings(path, environ=environ or {})


def item(name: str) -> Item:
    channel = messaging.listener(name).channel
    channel = "push" if name == "webhook" else channel
    sender = "+441632960000" if channel == "sms" else "hello@example.com"
    return Item(
        "k1", ADDRESSES[channel], "welcome", "arm", sender, "Hello", "Hello",
        status_callback="https://go.example/webhooks/twilio?message_key=k1",
    )  # fmt: skip


def test_vendors_that_nobody_uses_have_no_asset(tmp_path: Path) -> None:
    assert providers.message_providers(settings(tmp_path)) == ("sendgrid", "twilio")
    held = settings(tmp_path, providers={"resend": {"enabled": True}, "meta": {}, "fcm": {}})
    assert providers.message_providers(held) == ("sendgrid", "twilio", "resend", "fcm")
    assert providers.carriers(held)["email"] == "resend"
    assert providers.carriers(held)["push"] == "fcm"
    asleep = settings(tmp_path, providers={"resend": {"enabled": False}})
    assert providers.carriers(asleep)["email"] == "sendgrid"


@every_vendor
def test_a_sandbox_sends_over_every_stand_in_without_a_credential(
    tmp_path: Path, name: str
) -> None:
    held = settings(tmp_path, providers={name: {"options": OPTIONS.get(name, {})}})
    with providers.message_line(held, name) as (provider, line):
        line.set_clock(NOW)
        assert line.sender is not None
        (batch,) = provider.plan([item(name)])
        (result,) = provider.parse(batch, line.sender(provider.request(batch)), NOW)
    assert result.outcome is Outcome.ACCEPTED
    log = held.workspace_home / "sandbox" / "accepted.jsonl"
    assert log.read_text().count('"message_key":"k1"') == 1


@every_vendor
def test_a_dry_run_plans_and_calls_nobody(tmp_path: Path, name: str) -> None:
    held = settings(tmp_path, mode="dry_run", providers=ENABLED)
    with providers.message_line(held, name) as (provider, line):
        assert line.sender is None
        assert provider.plan([item(name)])


@every_vendor
def test_live_needs_the_provider_enabled_and_its_credential(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = {"LOOPDRIVE_MODE": "live"}
    off = settings(tmp_path, live, mode="live", providers={name: {"enabled": False}})
    with pytest.raises(ConfigError, match="enabled is not true"), providers.message_line(off, name):
        pass
    on = settings(tmp_path, live, mode="live", providers=ENABLED)
    with (
        pytest.raises(MissingCredentialError, match="is not set"),
        providers.message_line(on, name),
    ):
        pass
    asked = []

    def token(path: str, _client: Any, _now: datetime, scopes: Any) -> str:
        asked.append((path, tuple(scopes)))
        return "token"

    monkeypatch.setattr(google_token, "access_token", token)
    variables = (
        "SENDGRID_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "RESEND_API_KEY",
        "WHATSAPP_ACCESS_TOKEN", "LOOPDRIVE_WEBHOOK_SECRET", "GOOGLE_APPLICATION_CREDENTIALS",
    )  # fmt: skip
    environ = live | dict.fromkeys(variables, "given") | {"TWILIO_ACCOUNT_SID": "AC1"}
    ready = settings(tmp_path, environ, mode="live", providers=ENABLED)
    with providers.message_line(ready, name) as (provider, line):
        assert line.sender is not None
        with pytest.raises(http.HostRefusedError):
            line.sender(http.Request("GET", "https://elsewhere.example/"))
        assert "given" not in repr(provider)
    # Google is asked for a token where it is used, for what it is used for, and nowhere else.
    messaging_scope = ("https://www.googleapis.com/auth/firebase.messaging",)
    assert asked == ([("given", messaging_scope)] if name == "fcm" else [])


def test_a_version_that_ends_is_told_before(tmp_path: Path) -> None:
    today = date(2026, 11, 20)
    assert providers.versions_that_end(settings(tmp_path), today) == []
    options = {"api_version": "v25.0", "api_version_expires": "2027-01-31"}
    held = settings(tmp_path, providers={"whatsapp": {"options": options}})
    assert providers.versions_that_end(held, today) == [
        "WhatsApp Cloud API v25.0 ends on 2027-01-31"
    ]
    assert len(providers.versions_that_end(held, date(2028, 1, 1))) == 6, "nobody looked for long"
