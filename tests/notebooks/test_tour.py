"""The tour: as committed it was executed, carries nothing of a machine, and can be executed again.

Keep out: whether the figures are right (tests of the rooms).
"""

import ast
import base64
from pathlib import Path

import nbformat
import pytest

from notebooks.__main__ import PICTURE_BYTES, TOUR, NotebookError, executed
from warehouse import Settings, adopt_settings

LEAST_PICTURES = 12


@pytest.fixture(scope="module")
def tour() -> nbformat.NotebookNode:
    return nbformat.read(TOUR, as_version=4)


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures_of(notebook: nbformat.NotebookNode) -> list[bytes]:
    shown = [output.get("data", {}) for cell in code_of(notebook) for output in cell.outputs]
    return [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]


def assert_executed(notebook: nbformat.NotebookNode) -> None:
    cells = code_of(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert len(pictures_of(notebook)) >= LEAST_PICTURES


def test_the_committed_tour_was_executed(tour: nbformat.NotebookNode) -> None:
    assert_executed(tour)


def test_the_tour_carries_nothing_of_a_machine(tour: nbformat.NotebookNode) -> None:
    text = nbformat.writes(tour)
    for trace in (str(Path.home()), "/tmp/", "iopub.status", "site-packages", "object at 0x"):  # noqa: S108
        assert trace not in text, trace
    assert all(not cell.metadata for cell in tour.cells)
    assert max(len(picture) for picture in pictures_of(tour)) <= PICTURE_BYTES


def test_the_tour_says_that_its_data_are_simulated(tour: nbformat.NotebookNode) -> None:
    assert "simulated" in tour.cells[0].source


def test_the_tour_reads_through_the_analyst_role_only(tour: nbformat.NotebookNode) -> None:
    """Anything else would see behind the wall, and print it into a page that is published."""
    trees = [ast.parse(cell.source) for cell in code_of(tour)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    asked = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "warehouse"
    }
    assert asked == {"query_as_analyst"}
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not imported & {"psycopg", "sqlalchemy"}


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_the_tour_executes_on_a_small_workspace(
    played: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOPDRIVE_CONFIG", "LOOPDRIVE_HOME"):
        monkeypatch.setenv(name, "")
    adopt_settings(played)
    assert_executed(executed(TOUR, played.home))


def test_a_cell_that_fails_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    path = tmp_path / "broken.ipynb"
    nbformat.write(broken, path)
    with pytest.raises(NotebookError, match="ZeroDivisionError"):
        executed(path, tmp_path)
    assert not nbformat.read(path, as_version=4).cells[0].outputs
