"""Rules of the person graph, as data.

Here: what each identifier type may do, and what operators said about pairs. Not here: how the
rules are applied (`ml.identity`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

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
    """Guards as data. Types without a rule get `unlisted`."""

    types: Mapping[str, TypeRule]
    links: tuple[LinkRule, ...] = ()
    largest_person: int = 50
    unlisted: TypeRule = TypeRule(priority=1000)

    def of(self, identifier_type: str) -> TypeRule:
        """The rule of a type."""
        return self.types.get(identifier_type, self.unlisted)


def rules_from_frames(
    types: pd.DataFrame, links: pd.DataFrame | None = None, largest_person: int = 50
) -> Rules:
    """Rules from their tables: `types` with identifier_type, priority, is_unique, max_per_person
    (null = no limit) and optionally counts_in_size; `links` as identity.link_rules.

    Without `counts_in_size`, anonymous and click ids do not count towards the largest person.
    """
    listed: dict[str, TypeRule] = {}
    for row in types.to_dict("records"):
        name, limit = str(row["identifier_type"]), row["max_per_person"]
        counts = row.get("counts_in_size", name not in ("anonymous_id", "ad_click_id"))
        listed[name] = TypeRule(
            priority=int(row["priority"]),
            is_unique=bool(row["is_unique"]),
            max_per_person=None if pd.isna(limit) else int(limit),
            counts_in_size=bool(counts),
        )
    if links is None:
        return Rules(listed, (), largest_person)
    rows = links[["action", *PAIR]].itertuples(index=False, name=None)
    return Rules(listed, tuple(LinkRule(*row) for row in rows), largest_person)
