"""Programs: what a file may say, and what the error says when it may not."""

import pytest
import yaml

from activations import copy, programs, variants
from activations.programs import ProgramError
from warehouse.settings import BrandSettings

NAMES = ("welcome", "abandoned_cart", "win_back")


def text_with(**changes: object) -> str:
    content = yaml.safe_load((programs.FOLDER / "win_back.yml").read_text())
    return yaml.safe_dump(content | changes)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_programs_hold_to_the_house(name: str) -> None:
    program = programs.load(name)
    assert len(program.arms) <= 10
    assert (program.shares.policy, program.shares.random) == (0.8, 0.05)
    assert (program.shares.bau, program.shares.holdout) == (0.1, 0.05)
    floor = program.guardrails.engagement_floor
    assert floor == (0.3 if name == "abandoned_cart" else None)


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_has_shipped_words_that_pass_the_lint_and_are_approved(name: str) -> None:
    program, brand = programs.load(name), BrandSettings()
    approved = set(yaml.safe_load((variants.FOLDER / "approved.yml").read_text()))
    shipped = variants.shipped(program)
    arms = {arm.name: arm for arm in program.arms}
    assert {words.arm for words in shipped} == set(arms)
    for words in shipped:
        problems = copy.lint(words.subject, words.body, arms[words.arm], name, brand)
        assert problems == [], f"{words.arm}: {problems}"
        assert words.content_hash in approved, f"{words.arm}: {words.content_hash} not approved"


def test_a_typo_names_the_nearest_key() -> None:
    with pytest.raises(ProgramError, match=r"unknown key `windw_days`.*`window_days`"):
        programs.parse(text_with(windw_days=3), "win_back.yml")
    with pytest.raises(ProgramError, match=r"guardrails.engagement_flor.*`engagement_floor`"):
        programs.parse(text_with(guardrails={"engagement_flor": 0.1}), "win_back.yml")


def test_a_missing_program_names_the_nearest() -> None:
    with pytest.raises(ProgramError, match="did you mean win_back"):
        programs.load("winback")


def test_a_program_that_does_not_hold_together_is_refused() -> None:
    with pytest.raises(ProgramError, match="nearest is `email_10_discount`"):
        programs.parse(text_with(bau="email_10_discont"), "win_back.yml")
    shares = {"policy": 0.7, "random": 0.05, "bau": 0.1, "holdout": 0.05}
    with pytest.raises(ProgramError, match=r"sum to 0\.9"):
        programs.parse(text_with(shares=shares), "win_back.yml")
    with pytest.raises(ProgramError, match="max_offer_percent"):
        programs.parse(text_with(max_offer_percent=10), "win_back.yml")
    arms = [{"channel": "email", "offer_percent": n, "theme": "discount"} for n in range(10, 21)]
    with pytest.raises(ProgramError, match="at most 10 items"):
        programs.parse(text_with(arms=arms), "win_back.yml")


def test_programs_decide_in_order_of_priority() -> None:
    ordered = [program.program for program in programs.load_all(NAMES)]
    assert ordered == ["abandoned_cart", "welcome", "win_back"]
    assert programs.names_before(programs.load("win_back")) == ("abandoned_cart", "welcome")


def test_the_rewards_that_dbt_reads_are_those_of_the_programs() -> None:
    seed = programs.FOLDER.parents[1] / "dbt_project" / "seeds" / "program_rewards.csv"
    if not seed.is_file():
        pytest.skip(f"{seed.name} is not there")
    told = {tuple(line.split(",")) for line in seed.read_text().split()[1:]}
    loaded = [programs.load(name) for name in NAMES]
    assert told == {(p.program, p.reward, str(p.window_days)) for p in loaded}
