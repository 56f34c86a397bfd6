"""A stored model comes back whole or not at all."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml import store
from ml.cards import ModelCard

AS_OF = datetime(2024, 5, 6, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Constant:
    """The smallest model: it carries a card and one number."""

    card: ModelCard
    value: float


def model(value: float = 1.5, version: str = "0123abcd") -> Constant:
    return Constant(ModelCard("churn", version, AS_OF, {"auc": 0.8}, "passed", "fine"), value)


def test_a_model_comes_back_with_its_card_and_plots(tmp_path: Path) -> None:
    folder = store.save(tmp_path, model(), {"reliability": b"png"})
    assert store.load(tmp_path, "churn", "0123abcd") == model()
    assert store.load_card(tmp_path, "churn", "0123abcd").metrics == {"auc": 0.8}
    assert (folder / "reliability.png").read_bytes() == b"png"
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["0123abcd"]


def test_an_intact_version_is_left_alone_and_a_damaged_one_replaced(tmp_path: Path) -> None:
    folder = store.save(tmp_path, model(1.0))
    store.save(tmp_path, model(2.0))
    assert store.load(tmp_path, "churn", "0123abcd").value == 1.0
    (folder / "model.pkl").write_bytes(b"broken")
    with pytest.raises(store.NotLoadableError, match="is damaged; train anew"):
        store.load(tmp_path, "churn", "0123abcd")
    store.save(tmp_path, model(2.0))
    assert store.load(tmp_path, "churn", "0123abcd").value == 2.0


def test_a_crash_in_the_middle_leaves_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            store.save(tmp_path, model())
    with pytest.raises(store.NotLoadableError, match="is not stored"):
        store.load(tmp_path, "churn", "0123abcd")
    store.save(tmp_path, model())
    assert store.load(tmp_path, "churn", "0123abcd") == model()


def test_other_libraries_mean_training_anew(tmp_path: Path) -> None:
    folder = store.save(tmp_path, model())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["libraries"]["lightgbm"] = "0.1"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(store.NotLoadableError, match="another lightgbm"):
        store.load(tmp_path, "churn", "0123abcd")


def test_a_model_of_older_code_means_training_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(tmp_path, model())
    monkeypatch.delitem(globals(), "Constant")
    with pytest.raises(store.NotLoadableError, match="older code"):
        store.load(tmp_path, "churn", "0123abcd")


@pytest.mark.parametrize("name", ["../churn", "a/b", "", ".hidden", "Churn"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a file"):
        store.load(tmp_path, name, "0123abcd")
    with pytest.raises(ValueError, match="no name for a file"):
        store.save(tmp_path, model(version=name))
