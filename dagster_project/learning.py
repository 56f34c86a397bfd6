"""Champions and challengers: which fitted model scores today, and the cards that say why.

Belongs here: reading and writing `ml.model_cards`, storing fitted models, pictures for the UI.
Keep out: fitting, gates and metrics (`ml/`).
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from dagster_project.resources import Workspace
from ml import cards, store
from ml.cards import ModelCard, Refusal

CARDS = "ml.model_cards"
CARD_KEYS = ("model", "model_version")


@dataclass(frozen=True)
class Learned:
    """The model that may score (None: nobody may), the card to show, and its pictures."""

    champion: Any
    card: ModelCard
    pictures: Mapping[str, bytes]

    def metadata(self) -> dict[str, Any]:
        """What the UI shows beside the table."""
        shown: dict[str, Any] = {
            "gate": self.card.gate,
            "reason": self.card.reason,
            "model_version": self.card.model_version,
            "card": dg.MetadataValue.json(cards.plain(self.card.metrics)),
        }
        return shown | {name: picture(png) for name, png in self.pictures.items()}


def learn(
    workspace: Workspace,
    model: str,
    train: Callable[[datetime], Any],
    pictures: Callable[[Any], Mapping[str, bytes]] | None = None,
) -> Learned:
    """Train when there is no champion or it is a week old; a refused challenger changes nothing.

    `train` gets the business time and returns a fitted model or a Refusal.
    """
    as_of = workspace.as_of
    held = _champion_row(workspace, model)
    champion = _stored(workspace, model, held)
    if champion is not None and held is not None and not cards.due(as_of, held["as_of"]):
        version = champion.card.model_version
        return Learned(champion, champion.card, store.load_plots(workspace.models, model, version))
    challenger = train(as_of)
    if isinstance(challenger, Refusal):
        record(workspace, challenger.card, is_champion=False)
        return Learned(champion, challenger.card, {})
    shown = pictures(challenger) if pictures else {}
    store.save(workspace.models, challenger, shown)
    record(workspace, challenger.card, is_champion=True)
    return Learned(challenger, challenger.card, shown)


def record(workspace: Workspace, card: ModelCard, *, is_champion: bool) -> None:
    """Write a card; the new champion takes the place of the old in the same transaction."""
    champion = {card.model: card.model_version} if is_champion else {}
    row = pa.Table.from_pandas(cards.card_frame([card], champion), preserve_index=False)
    with workspace.warehouse.transaction() as connection:
        held = _champion_row(workspace, card.model)
        if is_champion and held is not None and held["model_version"] != card.model_version:
            former = pa.table({name: [held[name]] for name in CARD_KEYS} | {"is_champion": [False]})
            workspace.warehouse.update(CARDS, former, CARD_KEYS, connection)
        workspace.warehouse.upsert(CARDS, row, CARD_KEYS, connection)


def write(workspace: Workspace, table: str, frame: pd.DataFrame) -> int:
    """Make a frame the whole content of an ml table; returns its rows."""
    return workspace.warehouse.replace(table, pa.Table.from_pandas(frame, preserve_index=False))


def frame(
    workspace: Workspace, table: str, where: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """A table, or the rows that hold one of the given values, as a pandas frame."""
    return workspace.warehouse.table(table, where).to_pandas()


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts by column name."""
    return [dict(zip(map(str, rows.columns), row, strict=True)) for row in rows.to_numpy()]


def picture(png: bytes) -> dg.MetadataValue:
    """A PNG as metadata that the UI renders."""
    return dg.MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(png).decode()})")


def figures(result: Any) -> dict[str, Any]:
    """The fields of a result dataclass, or the items of a mapping, as metadata."""
    fields = dict(result) if isinstance(result, Mapping) else vars(result)
    return {
        name: dg.MetadataValue.json(cards.plain(dict(value)))
        if isinstance(value, Mapping)
        else ("" if value is None else value)
        for name, value in fields.items()
    }


def _champion_row(workspace: Workspace, model: str) -> dict[str, Any] | None:
    rows = frame(workspace, CARDS)
    own = rows[(rows["model"] == model) & rows["is_champion"]]
    return None if own.empty else {str(name): value for name, value in own.iloc[0].items()}


def _stored(workspace: Workspace, model: str, held: dict[str, Any] | None) -> Any:
    if held is None:
        return None
    try:
        return store.load(workspace.models, model, held["model_version"])
    except store.NotLoadableError:
        return None  # recorded by the new card: a champion that cannot be loaded is trained anew
