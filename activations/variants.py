"""Variants: which words exist for an arm, which of them are approved, and the draw among them.

Belongs here: shipped templates and their approval by content hash, loading, picking.
Keep out: rendering and lint (`copy.py`), a model's drafts (`drafts.py`), people's verdicts.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from activations import copy, reviews
from activations.keys import content_digest, stable_id, unit_draw
from activations.programs import Program
from warehouse import Warehouse
from warehouse.settings import BrandSettings

FOLDER = Path(__file__).parent / "templates"
DEFAULT_LOCALE = "en"


@dataclass(frozen=True)
class Variant:
    """Words for one arm. `content_hash` pins what was approved, layouts included."""

    variant_id: str
    program: str
    arm: str
    channel: str
    locale: str
    persona_id: str | None
    subject: str | None
    body: str
    content_hash: str


@dataclass(frozen=True)
class Library:
    """The approved words of one program."""

    variants: tuple[Variant, ...]

    def fitting(self, arm: str, persona_id: str | None, locale: str | None) -> list[Variant]:
        """The closest group: persona and language, then language, persona, neither."""
        language = (locale or DEFAULT_LOCALE)[:2].lower()
        own = [variant for variant in self.variants if variant.arm == arm]
        for persona, spoken in (
            (persona_id, language),
            (None, language),
            (persona_id, DEFAULT_LOCALE),
            (None, DEFAULT_LOCALE),
        ):
            found = [v for v in own if v.persona_id == persona and v.locale == spoken]
            if found:
                return found
        return []

    def pick(self, arm: str, persona_id: str | None, locale: str | None, draw: str) -> Variant:
        """One of the fitting variants, uniform over `draw` names. Raises LookupError on none."""
        found = self.fitting(arm, persona_id, locale)
        if not found:
            raise LookupError(f"no approved words for arm {arm}")
        return found[int(unit_draw("variant", draw) * len(found))]


def content_hash(subject: str | None, body: str) -> str:
    """What an approval is pinned to: the words and the layouts that frame them."""
    return content_digest(json.dumps([subject, body.strip(), _layouts()]))


def shipped(program: Program, folder: Path = FOLDER) -> list[Variant]:
    """The words that come with the program, one variant per arm they are for."""
    content = yaml.safe_load((folder / f"{program.program}.yml").read_text("utf-8"))
    channel_of = {arm.name: arm.channel for arm in program.arms}
    return [
        variant(program.program, arm, channel_of[arm], words, content["locale"])
        for words in content["variants"]
        for arm in words["arms"]
        if arm in channel_of
    ]


def variant(
    program: str, arm: str, channel: str, words: dict[str, Any], locale: str = DEFAULT_LOCALE
) -> Variant:
    """A variant of words `{subject, body, persona_id}`; the same words have the same id."""
    subject, body, persona = words.get("subject"), words["body"].strip(), words.get("persona_id")
    pinned = content_hash(subject, body)
    name = stable_id("variant", program, arm, locale, persona or "", pinned)
    return Variant(name, program, arm, channel, locale, persona, subject, body, pinned)


def publish_templates(
    warehouse: Warehouse,
    programs: Sequence[Program],
    brand: BrandSettings,
    as_of: datetime,
    folder: Path = FOLDER,
) -> int:
    """Bring the shipped words into the warehouse; returns how many rows changed.

    Words whose content hash is in `approved.yml` are approved; others are drafts with an open
    review. A person's verdict on a variant stands. Words no longer shipped are retired.
    """
    approved = frozenset(yaml.safe_load((folder / "approved.yml").read_text("utf-8")) or ())
    held = {
        row["variant_id"]: row
        for row in warehouse.rows(
            "select variant_id, status, approved_by from delivery.copy_variants"
            " where origin = 'template' and program = any(%(programs)s)",
            programs=[program.program for program in programs],
        )
    }
    rows = []
    for program in programs:
        arms = {arm.name: arm for arm in program.arms}
        for words in shipped(program, folder):
            lint = copy.lint(words.subject, words.body, arms[words.arm], program.program, brand)
            is_fine = words.content_hash in approved and not lint
            status, by = ("approved", "shipped") if is_fine else ("draft", None)
            if (known := held.get(words.variant_id)) and known["approved_by"] not in (
                None,
                "shipped",
            ):
                status, by = known["status"], known["approved_by"]
            rows.append(row_of(words, "template", lint, status, by))
    changed = warehouse.upsert("delivery.copy_variants", table(rows), ["variant_id"])
    changed += _retire(warehouse, set(held) - {row["variant_id"] for row in rows})
    drafts = [row["variant_id"] for row in rows if row["status"] == "draft"]
    reviews.request(warehouse, "copy", drafts, as_of)
    return changed


def row_of(
    words: Variant, origin: str, lint: list[str], status: str, approved_by: str | None
) -> dict[str, Any]:
    """A row of delivery.copy_variants."""
    return vars(words) | {
        "origin": origin,
        "lint": json.dumps({"problems": lint}),
        "status": status,
        "approved_by": approved_by,
    }


def table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows of delivery.copy_variants as Arrow, text throughout."""
    names = (*Variant.__dataclass_fields__, "origin", "lint", "status", "approved_by")
    held = list(rows)
    return pa.table({n: pa.array([row[n] for row in held], pa.string()) for n in names})


def library(connection: Any, program: str) -> Library:
    """The approved words of a program, in a fixed order."""
    rows = connection.execute(
        "select variant_id, program, arm, channel, locale, persona_id, subject, body, content_hash"
        " from delivery.copy_variants where program = %s and status = 'approved'"
        " and arm is not null order by variant_id",
        [program],
    ).fetchall()
    return Library(tuple(Variant(**row) for row in rows))


def _retire(warehouse: Warehouse, gone: set[str]) -> int:
    return warehouse.execute(
        "update delivery.copy_variants set status = 'retired'"
        " where variant_id = any(%(gone)s) and status <> 'retired'",
        gone=sorted(gone),
    )


@lru_cache(maxsize=1)
def _layouts() -> str:
    return content_digest(copy.layout_digest_source())
