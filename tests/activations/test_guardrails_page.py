"""docs/guardrails.md against the code: every reason, every key with its default, every example."""

import re
from pathlib import Path

import yaml

from activations import choices, frequency, guardrails, programs, recheck
from activations.programs import Guardrails

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guardrails.md").read_text("utf-8")


def table(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (found,) = [part for part in text if part.startswith(f"{section}\n")]
    rows = [line.strip("|").split("|") for line in found.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


def test_the_page_tells_every_reason_and_no_other() -> None:
    told = [row[0] for row in table("Reasons")]
    planned = {*guardrails.GUARDRAILS, *choices.OTHER_SILENCES}
    at_sending = {*recheck.FORBIDS, *frequency.CAPS}
    assert set(told) == planned | at_sending
    assert len(told) == len(set(told))
    judged = {row[0]: row[1] for row in table("Reasons")}
    assert {name for name, when in judged.items() if "planning" in when} == planned
    assert {name for name, when in judged.items() if "sending" in when} == at_sending


def test_the_page_tells_every_key_with_its_default() -> None:
    told = {row[0]: yaml.safe_load(row[1]) for row in table("Keys")}
    assert told == {name: field.default for name, field in Guardrails.model_fields.items()}


def test_the_example_is_a_section_that_is_accepted() -> None:
    (example,) = re.findall(r"```yaml\n(.+?)```", PAGE, flags=re.DOTALL)
    rules = programs.house(yaml.safe_load(example)["guardrails"], "page")
    assert programs.under(programs.load("win_back"), rules).guardrails.engagement_floor == 0.1
    assert programs.under(programs.load("welcome"), rules).guardrails.messages_per_7_days == 2
