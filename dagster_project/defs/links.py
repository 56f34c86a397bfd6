"""identity/link_proposals: contacts that may be one person, before the graph of the day.

Keep out: everything but the asset (`dagster_project.contact_links`).
"""

import dagster as dg

from dagster_project import contact_links
from dagster_project.resources import Workspace


@dg.asset(
    key=["identity", "link_proposals"],
    group_name="identity",
    kinds={"python", "postgres"},
    deps=[["raw", "crm_contacts"], ["identity", "int_edges_observed"]],
)
def link_proposals(workspace: Workspace) -> dg.MaterializeResult:
    """Pairs of contacts that are likely one person: sure ones linked by rule, others in review."""
    return dg.MaterializeResult(metadata=contact_links.propose(workspace))
