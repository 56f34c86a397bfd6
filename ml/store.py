"""Fitted models on disk, by model and version, each beside its card and its plots.

Belongs here: the folder layout, atomic writing and the checks before a model is used again.
Keep out: which version is champion (the table `ml.model_cards`) and where the folder lies.
"""

import hashlib
import json
import pickle
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Protocol

from ml.cards import ModelCard, card_from_json

PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
LIBRARIES = ("hdbscan", "lightgbm", "numpy", "pandas", "scikit-learn", "scipy")
"""A pickle may not load, or may answer differently, under other versions of these."""


class HasCard(Protocol):
    """Any fitted model: it carries the card of its training."""

    @property
    def card(self) -> ModelCard:
        """The card."""


class NotLoadableError(LookupError):
    """The stored model is missing, damaged or of other library versions: train anew."""


def save(directory: Path, fitted: HasCard, plots: Mapping[str, bytes] | None = None) -> Path:
    """Store `fitted` under `directory`/model/version; the folder appears whole or not at all.

    Holds model.pkl, card.json, manifest.json and one PNG per plot. A version that is there and
    intact stays as it is.
    """
    card = fitted.card
    target = _folder(directory, card.model, card.model_version)
    if target.exists():
        if not _fault(target):
            return target
        shutil.rmtree(target)
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    content = pickle.dumps(fitted, protocol=5)
    manifest = {"digest": hashlib.sha256(content).hexdigest(), "libraries": _libraries()}
    (draft / "model.pkl").write_bytes(content)
    (draft / "card.json").write_text(card.as_json())
    (draft / "manifest.json").write_text(json.dumps(manifest, sort_keys=True))
    for name, picture in (plots or {}).items():
        (draft / f"{_plain(name)}.png").write_bytes(picture)
    draft.replace(target)
    return target


def load(directory: Path, model: str, model_version: str) -> Any:
    """The fitted model that `save` stored. Raises NotLoadableError with the reason.

    Unpickling runs code: `directory` must be one that only this project writes to.
    """
    folder = _folder(directory, model, model_version)
    fault = _fault(folder)
    if fault:
        raise NotLoadableError(f"{model} {model_version} {fault}; train anew")
    try:
        return pickle.loads((folder / "model.pkl").read_bytes())
    except (AttributeError, ImportError) as error:
        raise NotLoadableError(f"{model} {model_version} is of older code; train anew") from error


def load_card(directory: Path, model: str, model_version: str) -> ModelCard:
    """The card alone. Raises NotLoadableError when it is not there."""
    path = _folder(directory, model, model_version) / "card.json"
    if not path.exists():
        raise NotLoadableError(f"{model} {model_version} is not stored; train anew")
    return card_from_json(path.read_text())


def load_plots(directory: Path, model: str, model_version: str) -> dict[str, bytes]:
    """The pictures stored with a model, by name; none where it is not stored."""
    files = sorted(_folder(directory, model, model_version).glob("*.png"))
    return {file.stem: file.read_bytes() for file in files}


def _folder(directory: Path, model: str, model_version: str) -> Path:
    return directory / _plain(model) / _plain(model_version)


def _plain(name: str) -> str:
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a file: lower-case letters, digits and _ only")
    return name


def _libraries() -> dict[str, str]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, **{name: installed(name) for name in LIBRARIES}}


def _fault(folder: Path) -> str | None:
    """What keeps the stored model from being used; None when nothing does."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        content = (folder / "model.pkl").read_bytes()
    except FileNotFoundError:
        return "is not stored"
    except json.JSONDecodeError:
        return "is damaged"
    if hashlib.sha256(content).hexdigest() != manifest["digest"]:
        return "is damaged"
    now = _libraries()
    other = sorted(name for name in now if manifest["libraries"].get(name) != now[name])
    return f"was trained under another {other[0]}" if other else None
