"""Programs: one purpose, one YAML file, validated when it is read.

Belongs here: the shape of a program, the house rules it may override, reading the files.
Keep out: what the rules mean (`guardrails.py`), words (`templates/`), who is addressed (dbt).
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FOLDER = Path(__file__).parent / "programs"
Channel = Literal["email", "sms", "push", "whatsapp"]
ASSIGNMENTS = ("policy", "random", "bau", "holdout")
# What one message costs us in minor units of the workspace's currency: an e-mail is part of the
# plan's flat fee, a text costs about a penny (list prices of November 2026, rounded up), a push
# nothing, a marketing template on WhatsApp a few pence by the reader's country: five is assumed.
COST_MINOR = {"email": 0, "sms": 1, "push": 0, "whatsapp": 5}


class ProgramError(ValueError):
    """A program file that cannot be used; the text names file, key and nearest valid key."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Part):
    """One thing a program can do: a channel, an offer, a theme."""

    channel: Channel
    offer_percent: int = Field(ge=0, le=90)
    theme: str = Field(pattern=r"^[a-z][a-z0-9]*$")

    @property
    def name(self) -> str:
        """`<channel>_<offer>_<theme>`, as every table and every message calls it."""
        return f"{self.channel}_{self.offer_percent or 'none'}_{self.theme}"

    @property
    def cost_minor(self) -> int:
        """The price of one message, in minor units."""
        return COST_MINOR[self.channel]


class Step(_Part):
    """A message in a sequence and how long it waits for the one before."""

    step: int = Field(ge=1)
    wait_hours: float = Field(ge=0)


class Shares(_Part):
    """How persons are split; sums to one."""

    policy: float = Field(ge=0, le=1)
    random: float = Field(ge=0, le=1)
    bau: float = Field(ge=0, le=1)
    holdout: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> "Shares":
        total = self.policy + self.random + self.bau + self.holdout
        if abs(total - 1) > 1e-9:
            raise ValueError(f"shares sum to {total:g}, not to 1")
        return self


Limit = Annotated[int, Field(ge=0)] | None


class Guardrails(_Part):
    """The house rules; a program states only what it does differently.

    Limits count marketing messages to one person over all channels: of every program, or of the
    program alone (`program_…`). Null is no limit, 0 is silence. docs/guardrails.md tells each.
    """

    messages_per_7_days: Limit = 3
    messages_per_30_days: Limit = None
    messages_per_local_day: Limit = 1
    messages_per_local_week: Limit = None
    messages_per_local_month: Limit = None
    program_messages_per_7_days: Limit = None
    program_messages_per_30_days: Limit = None
    program_messages_per_local_day: Limit = None
    program_messages_per_local_week: Limit = None
    program_messages_per_local_month: Limit = None
    # One message a day leaves 11 hours of night between two; the last thing in the evening and
    # the first in the morning are still too close.
    minimum_gap_hours: float = Field(default=12, ge=0)
    engagement_floor: float | None = Field(default=0.3, ge=0, le=1)
    # What we believe of somebody whose engagement nobody has measured yet.
    engagement_prior: float = Field(default=0.5, ge=0, le=1)
    expires_hours: float = Field(default=72, gt=0)


class Exploration(_Part):
    """Handed to the policy: the least probability of an eligible arm."""

    floor_share: float = Field(default=0.01, ge=0, le=0.1)


class Approval(_Part):
    """What a person must look at before it is sent."""

    offer_percent_over: int = 20
    high_value_at_risk: bool = True


class Budget(_Part):
    """What a program may spend on messages in a calendar month, in the workspace's currency."""

    monthly_amount: float = Field(default=2000, ge=0)


class Program(_Part):
    """One purpose, from its audience to its reward."""

    program: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    priority: int = Field(ge=1)
    purpose: str
    audience: str
    objective: str
    reward: Literal["click", "conversion", "revenue"]
    window_days: int = Field(ge=1, le=60)
    salt: str = Field(min_length=1)
    brief: str
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=10)
    max_offer_percent: int = Field(ge=0, le=90)
    bau: str
    steps: tuple[Step, ...] = Field(min_length=1)
    shares: Shares
    guardrails: Guardrails = Guardrails()
    exploration: Exploration = Exploration()
    approval: Approval = Approval()
    budget: Budget = Budget()

    @model_validator(mode="after")
    def _holds_together(self) -> "Program":
        names = self.arm_names
        if len(set(names)) != len(names):
            raise ValueError("two arms have the same channel, offer and theme")
        if self.bau not in names:
            near = difflib.get_close_matches(self.bau, names, n=1, cutoff=0.0)
            raise ValueError(f"bau `{self.bau}` is no arm; the nearest is `{near[0]}`")
        if any(arm.offer_percent > self.max_offer_percent for arm in self.arms):
            raise ValueError(f"an arm offers more than max_offer_percent {self.max_offer_percent}")
        if self.audience != f"act_{self.program}":
            raise ValueError(f"audience must be act_{self.program}, the program's own name")
        return self

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms' names in file order: the column order of every n x arms matrix."""
        return tuple(arm.name for arm in self.arms)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels in use, each once, in order of first use."""
        return tuple(dict.fromkeys(arm.channel for arm in self.arms))


@dataclass(frozen=True)
class House:
    """What a workspace says about guardrails: to all its programs, and to single ones."""

    everywhere: Mapping[str, Any]
    by_program: Mapping[str, Mapping[str, Any]]


def house(content: Mapping[str, Any], file: str) -> House:
    """The configuration's `guardrails` section: keys of Guardrails, and `programs` by name.

    `file` names it in errors. Raises ProgramError, naming the nearest valid key.
    """
    everywhere = {key: value for key, value in content.items() if key != "programs"}
    by_program = content.get("programs") or {}
    if not isinstance(by_program, dict):
        raise ProgramError(f"{file}: `programs`: expected the names of programs, each with keys")
    known = sorted(path.stem for path in FOLDER.glob("*.yml"))
    for name in by_program:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
            raise ProgramError(f"{file}: no program `{name}`; the nearest is `{near[0]}`")
    for where, keys in ((None, everywhere), *by_program.items()):
        try:
            Guardrails.model_validate(keys or {})
        except ValidationError as error:
            place = f"{file}, program {where}" if where else file
            extra = () if where else ("programs",)
            raise ProgramError(f"{place}: {_sentence(error, Guardrails, extra)}") from error
    return House(everywhere, {name: keys or {} for name, keys in by_program.items()})


def house_file(path: Path) -> House:
    """Other house rules from a YAML file: the section's keys, with or without its name."""
    if not path.is_file():
        raise ProgramError(f"{path}: no such file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ProgramError(f"{path.name}: not valid YAML: {error}") from error
    if isinstance(content, dict) and list(content) == ["guardrails"]:
        content = content["guardrails"] or {}
    if not isinstance(content, dict):
        raise ProgramError(f"{path.name}: expected keys, such as `messages_per_7_days: 4`")
    return house(content, path.name)


def under(program: Program, rules: House) -> Program:
    """The program under the house's rules. What its own file says goes before what the house says
    to everybody, and what the house says to it by name goes before both."""
    own = program.guardrails.model_dump(exclude_unset=True)
    merged = {**rules.everywhere, **own, **rules.by_program.get(program.program, {})}
    return program.model_copy(update={"guardrails": Guardrails.model_validate(merged)})


def load(name: str, folder: Path = FOLDER) -> Program:
    """One program by name. Raises ProgramError in one sentence."""
    path = folder / f"{name}.yml"
    if not path.is_file():
        near = difflib.get_close_matches(name, [p.stem for p in folder.glob("*.yml")], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ProgramError(f"no program `{name}` in {folder.name}/{hint}")
    return parse(path.read_text(encoding="utf-8"), path.name)


def load_all(names: Sequence[str], folder: Path = FOLDER) -> tuple[Program, ...]:
    """Programs in the order in which they decide: the one with priority 1 chooses first."""
    return tuple(sorted((load(name, folder) for name in names), key=lambda p: p.priority))


def names_before(program: Program, folder: Path = FOLDER) -> tuple[str, ...]:
    """The shipped programs that decide before this one."""
    names = [path.stem for path in sorted(folder.glob("*.yml"))]
    return tuple(p.program for p in load_all(names, folder) if p.priority < program.priority)


def channels(names: Sequence[str]) -> tuple[str, ...]:
    """The channels that these programs use, each once, sorted."""
    return tuple(sorted({channel for name in names for channel in load(name).channels}))


def parse(text: str, file: str) -> Program:
    """A program from its YAML; `file` names it in errors."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProgramError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ProgramError(f"{file}: expected a mapping of keys, such as `program: welcome`")
    try:
        program = Program.model_validate(content)
    except ValidationError as error:
        raise ProgramError(f"{file}: {_sentence(error)}") from error
    if f"{program.program}.yml" != file:
        raise ProgramError(f"{file}: program `{program.program}` must live in its own name's file")
    return program


def _sentence(
    error: ValidationError, root: type[BaseModel] = Program, extra: Sequence[str] = ()
) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"`{where}`: {first['msg']}" if where else str(first["msg"])
    known = sorted([*(_section(first["loc"]) if root is Program else root).model_fields, *extra])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
    return f"unknown key `{where}`; the nearest valid key is `{near[0]}`"


def _section(location: tuple[int | str, ...]) -> type[BaseModel]:
    sections: dict[Any, type[BaseModel]] = {
        "arms": Arm,
        "steps": Step,
        "shares": Shares,
        "guardrails": Guardrails,
        "exploration": Exploration,
        "approval": Approval,
        "budget": Budget,
    }
    return sections.get(location[0], Program) if len(location) > 1 else Program
