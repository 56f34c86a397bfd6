"""decide/*: one asset for each program, in the order of their priority; and the copy they pick.

Keep out: guardrails and receipts (`activations`), the policy (`ml`).
"""

import dagster as dg

from activations import decisions, programs
from dagster_project import choosing, copywriting, learning, providers
from dagster_project.resources import Workspace
from warehouse import front, load_settings

LEARNED = [["ml", name] for name in ("bandit_posteriors", "send_times", "send_time_priors")]


@dg.asset(
    key=["copy", "variants"],
    group_name="copy",
    kinds={"python", "postgres"},
    deps=[["raw", "workspace"], ["ml", "personas"]],
)
def variants(workspace: Workspace) -> dg.MaterializeResult:
    """Shipped templates, approved by hash, and drafts of the language model where one is set."""
    return dg.MaterializeResult(metadata=copywriting.publish(workspace))


def _decide(name: str, before: list[dg.AssetKey]) -> dg.AssetsDefinition:
    @dg.asset(
        key=["decide", name],
        group_name="decide",
        kinds={"python", "postgres"},
        deps=[["activation", f"act_{name}"], *LEARNED, variants, *before],
        description=f"Decisions and planned messages of `{name}`, each with its receipt.",
    )
    def decide(workspace: Workspace) -> dg.MaterializeResult:
        held = decisions.candidates(workspace.warehouse, programs.load(name), workspace.as_of)
        chosen = choosing.choose(workspace, held)
        recorded = decisions.record(
            workspace.warehouse,
            held,
            arm_indices=chosen.arm_indices,
            propensities=chosen.propensities,
            brand=workspace.settings.brand,
            link_key=front.link_keys(workspace.settings)[0],
            model_versions=chosen.model_versions,
            send_hours=chosen.send_hours,
            carriers=providers.carriers(workspace.settings),
        )
        return dg.MaterializeResult(metadata=learning.figures(recorded))

    return decide


def _all() -> list[dg.AssetsDefinition]:
    made: list[dg.AssetsDefinition] = []
    for program in programs.load_all(load_settings().programs):
        # Caps hold across programs, so they decide one after the other.
        made.append(_decide(program.program, [made[-1].key] if made else []))
    return made


decides = _all()
