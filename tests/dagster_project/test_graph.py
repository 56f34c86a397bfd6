"""The graph: what Dagster shows is what the snapshot says, and it loads with nothing set.

Belongs here: names, groups, checks, jobs, schedules. Keep out: what assets do.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("graph.txt")
RENEW = f"python -m tests.dagster_project.graph_text > {SNAPSHOT.relative_to(ROOT)}"
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from dagster_project import loop
from tests.dagster_project.graph_text import lines
print("\\n".join(lines(loop.definitions())))
"""
LAYERS = ("raw", "staging", "identity", "marts", "features", "ml", "activation", "delivery")
WRITERS = ("settle", "copy", "decide", "send", "budget", "conversion")
PUSHING = {
    "listen_schedule", "rebalance_budgets_schedule", "send_due_schedule", "spend_sync_schedule",
}  # fmt: skip
# Written by every asset of their group, or by none yet; delivery/* closes the loop through time.
EXTERNAL = {"raw/batches", "raw/rejects", "ml/model_cards"}
LIVE = """
workspace: shop
mode: live
sources: [{kind: segment, path: "landing/*.jsonl"}]
"""


def shown(folder: Path, environment: dict[str, str]) -> list[str]:
    """The graph as a new process in an empty folder sees it."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(ROOT)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.splitlines()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("nothing")
    found = shown(folder, {})
    assert list(folder.iterdir()) == [], "loading the definitions wrote something"
    return found


def test_the_graph_is_the_committed_one(graph):
    assert graph == SNAPSHOT.read_text().splitlines(), f"if this was meant: {RENEW}"


def test_groups_are_named_as_schemas_and_keys_begin_with_them(graph):
    for line in graph:
        kind, group, name = line.split()[:3]
        if kind in ("asset", "external"):
            assert group in (*LAYERS, *WRITERS)
            assert name.startswith(f"{group}/")
            assert (kind == "external") == (group == "delivery" or name in EXTERNAL), name


def test_a_sandbox_registers_no_schedule_that_pushes(graph):
    assert schedules(graph) == {"daily_loop_schedule", "retrain_schedule"}


def test_live_mode_registers_what_pushes(tmp_path):
    config = tmp_path / "loopdrive.yml"
    config.write_text(LIVE)
    environment = {"LOOPDRIVE_CONFIG": str(config), "LOOPDRIVE_MODE": "live"}
    assert (
        schedules(shown(tmp_path, environment)) - {"daily_loop_schedule", "retrain_schedule"}
        == PUSHING
    )


def test_the_file_alone_does_not_make_a_workspace_live(tmp_path):
    (tmp_path / "loopdrive.yml").write_text(LIVE)
    assert PUSHING.isdisjoint(schedules(shown(tmp_path, {})))


def schedules(graph: list[str]) -> set[str]:
    return {line.split()[-1] for line in graph if line.startswith("schedule")}
