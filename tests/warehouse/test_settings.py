"""Settings: a typo names the nearest key, live needs two yeses, the default is the market."""

from pathlib import Path

import pytest

from warehouse import ConfigError, load_settings


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "loopdrive.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "workspace: shop\ncurency: GBP\n",
            "unknown key `curency`; the nearest valid key is `curr",
        ),
        ("workspace: shop\nsources: [{kind: segmnt, path: x}]\n", "did you mean segment"),
        ("workspace: shop\nsources: [{kind: segment, pth: x}]\n", "nearest valid key is `path`"),
        ("workspace: shop\ntime_zone: Europe/Lodnon\n", "did you mean Europe/London"),
        ("workspace: shop\nas_of: 2026-01-01T06:00:00\n", "needs a time zone"),
        ("workspace: My Shop\n", "`workspace`"),
        ("- a\n- b\n", "expected a mapping"),
        ("workspace: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace("`", "`")):
        load_settings(write(tmp_path, text), environ={})


def test_live_needs_the_file_and_the_environment(tmp_path: Path) -> None:
    live = write(tmp_path, "workspace: shop\nmode: live\n")
    assert load_settings(live, environ={}).mode == "dry_run"
    assert load_settings(live, environ={"LOOPDRIVE_MODE": "live"}).mode == "live"
    sandbox = write(tmp_path, "workspace: shop\n")
    with pytest.raises(ConfigError, match="does not say mode: live"):
        load_settings(sandbox, environ={"LOOPDRIVE_MODE": "live"})


def test_without_a_file_the_market_is_played_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ={})
    assert settings.workspace == "market"
    assert settings.simulation is not None
    assert settings.home == tmp_path / ".loopdrive"
    assert all(str(settings.workspace_home) in source.path for source in settings.sources)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "workspace: shop\nsources: [{kind: segment, path: data/*.jsonl}]\n")
    assert load_settings(path, environ={}).sources[0].path == str(tmp_path / "data/*.jsonl")


def test_credentials_never_print(tmp_path: Path) -> None:
    path = write(tmp_path, "workspace: shop\n")
    settings = load_settings(path, environ={"SENDGRID_API_KEY": "SG.very-secret"})
    assert settings.secrets.sendgrid_api_key is not None
    assert "very-secret" not in repr(settings)


def test_the_person_key_is_made_once(tmp_path: Path) -> None:
    path = write(tmp_path, "workspace: shop\n")
    first = load_settings(path, environ={}).person_key
    assert load_settings(path, environ={}).person_key == first
    assert (tmp_path / ".loopdrive/shop/person_key").stat().st_mode & 0o777 == 0o600
