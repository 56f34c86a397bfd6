"""Rules of the person graph, as data.

Here: what each identifier type may do, and what operators said about pairs. Not here: how the
rules are applied (`ml.identity`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import pandas as pd

# Raised when the same rules would give another graph, so that every graph is resolved anew.
ALGORITHM = 1
# The type under which the rules' table holds the limit of all counted identifiers together.
ALL_TYPES = "*"
PAIR = ["left_type", "left_value", "right_type", "right_value"]


@dataclass(frozen=True)
class TypeRule:
    """What one identifier type may do. Priority 1 is the strongest evidence."""

    priority: int
    is_unique: bool = False
    max_per_person: int | None = None
    counts_in_size: bool = True

    @property
    def ceiling(self) -> int | None:
        """How many identifiers of the type one person may have; None is no limit."""
        return 1 if self.is_unique else self.max_per_person


@dataclass(frozen=True)
class LinkRule:
    """An operator's word on two identifiers: together (include) or never (exclude)."""

    action: Literal["include", "exclude"]
    left_type: str
    left_value: str
    right_type: str
    right_value: str


@dataclass(frozen=True)
class Rules:
    """Guards as data. Types without a rule get `unlisted`.

    marks_digest stands for the rules that dbt applies: which values are blocked or shared.
    """

    types: Mapping[str, TypeRule]
    links: tuple[LinkRule, ...] = ()
    largest_person: int = 50
    unlisted: TypeRule = TypeRule(priority=1000)
    marks_digest: str = ""

    def of(self, identifier_type: str) -> TypeRule:
        """The rule of a type."""
        return self.types.get(identifier_type, self.unlisted)

    @property
    def digest(self) -> str:
        """Equal for equal rules, in whatever order they were given."""
        types = sorted((name, *vars(rule).values()) for name, rule in self.types.items())
        links = sorted(tuple(vars(link).values()) for link in self.links)
        limits = (self.largest_person, *vars(self.unlisted).values(), self.marks_digest)
        said = (ALGORITHM, types, links, limits)
        return blake2b(repr(said).encode(), digest_size=16).hexdigest()


def rules_from_frames(
    types: pd.DataFrame, links: pd.DataFrame | None = None, largest_person: int = 50
) -> Rules:
    """Rules from their tables: `types` with identifier_type, priority, is_unique, max_per_person
    (null = no limit) and optionally counts_in_size; `links` as identity.link_rules.

    Without `counts_in_size`, anonymous and click ids do not count towards the largest person.
    A row of type `*` says in max_per_person how large the largest person may be.
    """
    listed: dict[str, TypeRule] = {}
    for row in types.to_dict("records"):
        name, limit = str(row["identifier_type"]), row["max_per_person"]
        if name == ALL_TYPES:
            largest_person = int(limit)
            continue
        counts = row.get("counts_in_size", name not in ("anonymous_id", "ad_click_id"))
        listed[name] = TypeRule(
            priority=int(row["priority"]),
            is_unique=bool(row["is_unique"]),
            max_per_person=None if pd.isna(limit) else int(limit),
            counts_in_size=bool(counts),
        )
    digest = str(types["rules_digest"].max()) if "rules_digest" in types and len(types) else ""
    rows = [] if links is None else links[["action", *PAIR]].itertuples(index=False, name=None)
    return Rules(listed, tuple(LinkRule(*row) for row in rows), largest_person, marks_digest=digest)
