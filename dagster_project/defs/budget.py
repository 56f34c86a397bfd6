"""budget/*: the day's plan over all platforms, then one asset for each platform that pushes it.

Keep out: how much a campaign deserves (`ml.budget`), approval, read-back (`activations.budgets`).
"""

from decimal import Decimal

import dagster as dg
import pyarrow as pa

from activations import budgets, platforms
from dagster_project import learning, providers
from dagster_project.resources import Workspace
from ml import budget, plots
from ml.cards import Refusal

SEED = 20260302


@dg.asset(
    key=["budget", "plan"],
    group_name="budget",
    kinds={"python", "postgres"},
    deps=[["activation", "budget_inputs"]],
)
def plan(workspace: Workspace) -> dg.MaterializeResult:
    """Tomorrow's daily budgets: Thompson on value per unit of spend, small steps, a fixed total."""
    inputs = learning.frame(workspace, "activation.budget_inputs")
    proposed = budget.allocate(inputs, workspace.as_of, SEED)
    learning.record(workspace, proposed.card, is_champion=not isinstance(proposed, Refusal))
    shown = learning.Learned(None, proposed.card, {}).metadata()
    if isinstance(proposed, Refusal):
        return dg.MaterializeResult(metadata=shown)
    rows = pa.Table.from_pandas(proposed.frame, preserve_index=False)
    planned = budgets.plan(workspace.warehouse, workspace.as_of, rows, _limit(workspace))
    picture = proposed.frame.assign(currency=workspace.settings.currency)
    shown["budgets"] = learning.picture(plots.budgets(picture))
    return dg.MaterializeResult(metadata=shown | learning.figures(planned))


def _limit(workspace: Workspace) -> Decimal | None:
    return workspace.settings.daily_ad_budget_limit


def _push(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["budget", name],
        group_name="budget",
        kinds={"python"},
        deps=[plan],
        description=f"Approved budgets set on {name} as absolute amounts, and read back.",
    )
    def push(workspace: Workspace) -> dg.MaterializeResult:
        as_of = workspace.as_of
        with providers.platform_line(workspace.settings, name) as (platform, line):
            line.set_clock(as_of)
            pushed = budgets.push(workspace.warehouse, as_of, platform, line.sender, as_of)
        return dg.MaterializeResult(metadata=learning.figures(pushed))

    return push


pushes = [_push(name) for name in platforms.NAMES]
