"""delivery/*: tables that others write, shown in the graph without a parent; and settlement.

A writer as the parent of `delivery/*` would close the loop inside the graph; it closes through
time, by the next day's events. Writers have keys of their own: decide/*, send/*, budget/*.
"""

import dagster as dg

from activations import settlement
from dagster_project import learning
from dagster_project.defs import raw
from dagster_project.resources import Workspace

TABLES = {
    "assignments": "Who is in which group of which program; sticky.",
    "audit_log": "The hash chain over all batches of rows.",
    "budget_plans": "Daily ad budgets proposed, approved, pushed, confirmed.",
    "consent_changes": "Consents given and taken since the sources last said.",
    "conversion_uploads": "Conversions and what each platform made of them.",
    "copy_variants": "Texts, each approved by the hash of its content.",
    "decisions": "One receipt for each occasion: verdicts, propensities, choice or silence.",
    "messages": "The outbox.",
    "payloads": "Rendered requests; behind the wall.",
    "provider_pauses": "Accounts of providers that are left alone for now, and until when.",
    "reviews": "What waits for a person.",
    "send_attempts": "What each request to a provider brought.",
    "suppressions": "Addresses that hear nothing more.",
    "wallet_entries": "Money reserved and spent; sums to zero in each transaction.",
}
tables = [
    dg.AssetSpec(["delivery", name], group_name="delivery", kinds={"postgres"}, description=text)
    for name, text in TABLES.items()
]


@dg.asset(
    key=["settle", "messages"],
    group_name="settle",
    kinds={"python", "postgres"},
    deps=[asset.key for asset in raw.tables],
)
def settle(workspace: Workspace) -> dg.MaterializeResult:
    """What providers reported: deliveries, bounces, complaints, unsubscribes, opt-outs."""
    settled = settlement.settle(workspace.warehouse, workspace.as_of)
    return dg.MaterializeResult(metadata=learning.figures(settled))
