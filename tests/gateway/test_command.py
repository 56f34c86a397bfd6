"""The command: what it needs, and the keys it gives to try it out."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from dagster_project.cli import gateway as command
from dagster_project.cli import operate
from tests.gateway.conftest import ENVIRONMENT, configured
from warehouse import ConfigError, Settings, front


def test_a_configuration_without_the_section_is_told_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "loopdrive.yml"
    path.write_text("workspace: shop\n")
    monkeypatch.setenv("LOOPDRIVE_HOME", str(tmp_path))
    monkeypatch.setenv("LOOPDRIVE_CONFIG", str(path))
    with pytest.raises(ConfigError, match=r"`gateway: \{\}`"):
        command.gateway(config=path)


def test_beside_the_dagster_ui_it_runs_as_long_as_that() -> None:
    before = signal.getsignal(signal.SIGTERM)
    begun = time.monotonic()
    try:
        code = operate._with_companion(
            [sys.executable, "-c", "raise SystemExit(3)"],
            [sys.executable, "-c", "import time; time.sleep(60)"],
            dict(os.environ),
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert code == 3
    assert time.monotonic() - begun < 30


def derived(settings: Settings) -> list[str]:
    return [*front.write_keys(settings), *front.api_keys(settings)]


def test_keys_are_made_up_for_trying_out_and_never_in_live_mode(tmp_path: Path) -> None:
    settings = configured(tmp_path, {})
    assert len(set(derived(settings))) == 2
    assert derived(settings) == derived(configured(tmp_path, {})), "they change from start to start"
    assert derived(configured(tmp_path, {"LOOPDRIVE_MODE": "live"}, mode="live")) == []
    assert derived(configured(tmp_path, ENVIRONMENT)) == ["wk_old", "wk_new", "ak_1"]


def test_keys_are_never_printed_with_the_settings(tmp_path: Path) -> None:
    settings = configured(tmp_path, ENVIRONMENT | {"LOOPDRIVE_LINK_KEYS": "signs"})
    shown = repr(settings) + str(settings.model_dump())
    assert not any(secret in shown for secret in ("wk_old", "ak_1", "signs", "12345"))
    assert front.link_keys(settings)[0] == b"signs"
