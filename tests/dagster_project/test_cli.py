"""The command line: help for everything, and one clear line for what a user can mend.

Belongs here: commands as a user types them, on a workspace without a day. Keep out: the loop.
"""

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import typer
import yaml

from dagster_project.cli import app as frame
from dagster_project.cli import main
from tests.loop.playing import market_config
from warehouse import business_time, load_settings, open_warehouse, server

LAST = datetime(2026, 3, 2, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A workspace whose last day was LAST, and where nothing was loaded."""
    folder = Path(tempfile.mkdtemp(prefix="loopdrive-cli-"))
    try:
        path = folder / "loopdrive.yml"
        path.write_text(yaml.safe_dump(market_config({"workspace": "typed"})))
        settings = load_settings(path, environ={})
        business_time.advance(open_warehouse(settings), settings, LAST)
        yield folder
    finally:
        server.stop(folder / ".loopdrive")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def loopdrive(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Type a command in the workspace's folder."""
    monkeypatch.chdir(home)
    for name in ("LOOPDRIVE_CONFIG", "LOOPDRIVE_HOME", "LOOPDRIVE_MODE", "LOOPDRIVE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Ended:
        # What the command adopts as the process's settings must not outlive it.
        monkeypatch.delenv("LOOPDRIVE_CONFIG", raising=False)
        monkeypatch.delenv("LOOPDRIVE_HOME", raising=False)
        monkeypatch.setattr("sys.argv", ["loopdrive", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capfd.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), shown.out, shown.err)

    return run


def commands() -> list[tuple[str, ...]]:
    """Every command and group, as a user would type it."""
    from dagster_project.cli import (
        gateway,
        guardrails,
        identity,
        inspect,
        operate,
        review,
        run,
        stages,
    )

    del gateway, guardrails, identity, inspect, operate, review, run, stages

    def below(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, (*words, name))

    return list(below(typer.main.get_command(frame.app), ()))


PROMISED = {
    "run", "rehearse", "ingest", "build", "learn", "decide", "send", "budgets", "conversions",
    "sql", "explain", "identity", "review", "audit", "doctor", "stop", "dev", "gateway",
    "simulate", "switch",
}  # fmt: skip


def test_every_promised_command_is_there():
    assert {words[0] for words in commands() if words} >= PROMISED


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_helps(loopdrive, words):
    ended = loopdrive(*words, "--help")
    assert ended.code == 0
    assert "Usage:" in ended.out
    assert len(ended.out.split("Usage:")[1].splitlines()) > 3


@pytest.mark.parametrize(
    ("line", "key", "nearest"),
    [
        ("curency: EUR", "curency", "currency"),
        ("sources: [{kind: segment, pth: x}]", "sources.0.pth", "path"),
        ("simulation: {kind: market, poeple: 100}", "simulation.poeple", "people"),
        ("brand: {sender_mail: a}", "brand.sender_mail", "sender_email"),
    ],
)
def test_a_typo_names_the_key_and_the_nearest_valid_one(loopdrive, home, line, key, nearest):
    config = home / "typo.yml"
    config.write_text(f"workspace: typed\n{line}\n")
    ended = loopdrive("doctor", "--config", str(config))
    assert ended.code == 1
    assert f"`{key}`" in ended.err
    assert f"`{nearest}`" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_a_wrong_kind_of_source_names_the_nearest(loopdrive, home):
    config = home / "kind.yml"
    config.write_text("workspace: typed\nsources: [{kind: order_line, path: x}]\n")
    ended = loopdrive("doctor", "--config", str(config))
    assert (ended.code, "order_lines" in ended.err) == (1, True)


def test_a_configuration_that_is_not_there_is_named(loopdrive):
    ended = loopdrive("run", "--config", "nowhere.yml")
    assert ended.code == 1
    assert ended.err.strip() == "loopdrive: nowhere.yml: no such configuration file"


@pytest.mark.parametrize("command", ["run"])
def test_a_day_before_the_last_is_refused_in_one_line(loopdrive, command):
    ended = loopdrive(command, "--as-of", "2026-02-01")
    assert ended.code == 1
    assert "2026-02-01" in ended.err
    assert "2026-03-02" in ended.err
    assert "rehearse" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert "Traceback" not in ended.err + ended.out


def test_a_moment_that_is_none_is_refused(loopdrive):
    ended = loopdrive("run", "--as-of", "yesterday")
    assert ended.code == 2
    assert "yesterday" in ended.err


def test_sql_prints_a_table_csv_or_json(loopdrive):
    query = "select 1 as one, 'a,b' as word, null as nothing"
    assert "1 rows" in loopdrive("sql", query).out
    rows = list(csv.reader(io.StringIO(loopdrive("sql", query, "--csv").out)))
    assert rows == [["one", "word", "nothing"], ["1", "a,b", ""]]
    (line,) = loopdrive("sql", query, "--json").out.splitlines()
    assert json.loads(line) == {"one": 1, "word": "a,b", "nothing": None}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from raw.events", "permission denied"),
        ("select * from delivery.payloads", "permission denied"),
        ("delete from delivery.messages", ""),
        ("create table marts.mine (a int)", ""),
        ("select * from marts.nothing", "does not exist"),
        ("selct 1", "syntax error"),
    ],
)
def test_sql_refuses_in_one_line(loopdrive, query, said):
    ended = loopdrive("sql", query)
    assert ended.code == 1
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_doctor_finds_a_sound_workspace(loopdrive):
    ended = loopdrive("doctor")
    assert ended.code == 0, ended.out + ended.err
    assert "broken" not in ended.out
    for topic in ("versions", "workspace", "credentials", "server", "migrations", "wall"):
        assert topic in ended.out
    assert "mode sandbox" in ended.out


def test_doctor_warns_before_a_vendors_version_ends(loopdrive, home):
    config = home / "ending.yml"
    ending = {"options": {"api_version": "v2", "api_version_expires": "2026-01-31"}}
    config.write_text(
        yaml.safe_dump(market_config({"workspace": "typed", "providers": {"sendgrid": ending}}))
    )
    ended = loopdrive("doctor", "--config", str(config))
    assert ended.code == 0
    assert "SendGrid Mail Send v2 ended on 2026-01-31" in " ".join(ended.out.split())


def test_doctor_tells_no_credential(loopdrive, monkeypatch):
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.very-secret-key")
    ended = loopdrive("doctor")
    assert "SENDGRID_API_KEY" in ended.out
    assert "very-secret-key" not in ended.out + ended.err


def test_explain_says_that_nobody_is_known(loopdrive):
    ended = loopdrive("explain", "nobody-of-that-name")
    assert ended.code == 1
    assert "nobody-of-that-name" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_an_empty_audit_chain_is_intact(loopdrive):
    ended = loopdrive("audit", "verify")
    assert ended.code == 0
    assert "intact, 0 entries" in ended.out


def test_a_review_that_is_not_there_is_refused(loopdrive):
    assert "nothing waits" in loopdrive("review", "list").out
    ended = loopdrive("review", "approve", "abc")
    assert ended.code == 1
    assert "review list" in ended.err


def test_a_second_run_of_the_workspace_is_turned_away(loopdrive, home):
    settings = load_settings(home / "loopdrive.yml", environ={})
    with open_warehouse(settings).locked():
        ended = loopdrive("run")
    assert ended.code == 1
    assert "another run holds this workspace" in ended.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("link", "email:zoe@example.com", "nobody"), "type:value"),
        (("unlink", "email:zoe@example.com", "user_id:u1"), "loopdrive run"),
        (("undo", "abc"), "no merge begins with abc"),
        (("preview", "--rules", "none.yml"), "no such file"),
    ],
)
def test_identity_names_what_is_wrong_in_one_line(loopdrive, words, told):
    ended = loopdrive("identity", *words)
    assert ended.code == 1
    assert told in ended.err
    assert "zoe@example.com" not in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_identity_lists_no_merges_where_there_are_none(loopdrive):
    assert "no merges stand" in loopdrive("identity", "merges").out


def test_rules_with_a_typo_are_refused_before_anything_is_read(loopdrive, home):
    (home / "rules.yml").write_text("mesages_per_7_days: 4")
    ended = loopdrive("simulate", "--guardrails", "rules.yml")
    assert ended.code == 1
    assert "unknown key `mesages_per_7_days`; the nearest valid key is `messages_per_7_days`" in (
        " ".join(ended.err.split())
    )
    (home / "typo.yml").write_text(
        yaml.safe_dump(market_config({"guardrails": {"engagement_flor": 0.2}}))
    )
    ended = loopdrive("doctor", "--config", "typo.yml")
    assert ended.code == 1
    assert "nearest valid key is `engagement_floor`" in " ".join(ended.err.split())


def test_a_workspace_that_decided_nothing_loses_and_gains_nothing(loopdrive, home):
    (home / "rules.yml").write_text("messages_per_7_days: 4")
    ended = loopdrive("simulate", "--guardrails", "rules.yml", "--days", "7", "--json")
    assert ended.code == 0
    told = json.loads(ended.out)
    assert (told["run_count"], told["changes"]) == (0, [])
    shown = loopdrive("simulate", "--guardrails", "rules.yml")
    assert "Nothing was changed" in shown.out
    assert "no reward has matured yet" in shown.out


def test_a_switch_is_turned_off_listed_and_turned_on(loopdrive):
    assert "nothing is switched off" in loopdrive("switch", "list").out
    assert (
        "channel sms is off"
        in loopdrive("switch", "off", "--channel", "sms", "--reason", "wrong link").out
    )
    assert "wrong link" in loopdrive("switch", "list").out
    assert loopdrive("switch", "on", "--program", "win_back").code == 1
    assert "channel sms is on" in loopdrive("switch", "on", "--channel", "sms").out
    refused = loopdrive("switch", "off", "--channel", "smoke", "--reason", "x")
    assert refused.code == 1
    assert "no channel `smoke`" in " ".join(refused.err.split())
