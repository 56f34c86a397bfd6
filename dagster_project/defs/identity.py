"""identity: the one Python step between observed edges and the person graph.

Keep out: the rules (a dbt seed), the algorithm (`ml.identity`, `ml.person_ids`), what is read and
written (`dagster_project/person_graph.py`).
"""

from collections.abc import Iterator

import dagster as dg

from dagster_project import person_graph
from dagster_project.resources import Workspace

SPECS = {
    ("ml", "identity_verdicts"): "Which observed edges link nobody, and why; or by which rule.",
    ("ml", "identity_clusters"): "Which identifiers belong to one person; cluster_id = person_id.",
    ("identity", "person_id_ledger"): "Which person each identifier founded; never rebuilt.",
    ("identity", "merges"): "Which person was absorbed into which, when, on what evidence.",
}
OBSERVED = [
    ["identity", "int_edges_observed"],
    ["identity", "int_identifiers_observed"],
    ["identity", "int_identifier_rules"],
]


@dg.multi_asset(
    name="identity_clusters",
    specs=[
        dg.AssetSpec(
            list(key),
            group_name=key[0],
            deps=[*OBSERVED, ["identity", "link_proposals"]],
            kinds={"python", "postgres"},
            description=text,
        )
        for key, text in SPECS.items()
    ],
)
def identity_clusters(workspace: Workspace) -> Iterator[dg.MaterializeResult]:
    """Bring persons and their ids up to the observed evidence."""
    counts = person_graph.resolve(
        workspace.warehouse, workspace.settings.person_key, workspace.as_of
    )
    for key in SPECS:
        shown = counts if key[1] == "identity_clusters" else {}
        yield dg.MaterializeResult(asset_key=list(key), metadata=shown)
