"""identity: the one Python step between observed edges and the person graph.

Keep out: the rules (a dbt seed) and the algorithm (`ml.identity`, `ml.person_ids`).
"""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from dagster_project import learning
from dagster_project.resources import Workspace
from ml import identity, person_ids
from ml.identity_rules import rules_from_frames

SPECS = {
    ("ml", "identity_verdicts"): "Whether each observed edge links a person, and why not.",
    ("ml", "identity_clusters"): "Which identifiers belong to one person; cluster_id = person_id.",
    ("identity", "person_id_ledger"): "Which person each identifier founded; never rebuilt.",
    ("identity", "merges"): "Which person was absorbed into which, when, on what evidence.",
}
OBSERVED = [
    ["identity", "int_edges_observed"],
    ["identity", "int_identifiers_observed"],
    ["identity", "identifier_rules"],
]
CLUSTERS = ["cluster_id", *person_ids.IDENTIFIER]


@dg.multi_asset(
    name="identity_clusters",
    specs=[
        dg.AssetSpec(
            list(key),
            group_name=key[0],
            deps=OBSERVED,
            kinds={"python", "postgres"},
            description=text,
        )
        for key, text in SPECS.items()
    ],
)
def identity_clusters(workspace: Workspace) -> Iterator[dg.MaterializeResult]:
    """Partition identifiers into persons and give each the id that it keeps."""
    edges, identifiers, types = (learning.frame(workspace, ".".join(key)) for key in OBSERVED)
    ledger = learning.frame(workspace, "identity.person_id_ledger")
    merges = learning.frame(workspace, "identity.merges")
    links = learning.frame(workspace, "identity.link_rules")
    resolved = identity.resolve(edges, identifiers, rules_from_frames(types, links))
    assigned = person_ids.assign_ids(
        resolved.clusters,
        ledger,
        merges,
        workspace.settings.person_key,
        workspace.as_of,
        resolved.verdicts,
    )
    _write(workspace, resolved, assigned)
    for key in SPECS:
        shown = resolved.summary() if key[1] == "identity_clusters" else {}
        yield dg.MaterializeResult(asset_key=list(key), metadata=shown)


def _write(
    workspace: Workspace, resolved: identity.Resolution, assigned: person_ids.Assigned
) -> None:
    clusters = assigned.clusters.drop(columns="cluster_id")
    clusters = clusters.rename(columns={"person_id": "cluster_id"})[CLUSTERS]
    tables = {
        name: pa.Table.from_pandas(frame, preserve_index=False)
        for name, frame in {
            "verdicts": resolved.verdicts,
            "clusters": clusters,
            "ledger": assigned.ledger,
            "merges": assigned.merges,
            "undone": assigned.undone,
        }.items()
    }
    warehouse = workspace.warehouse
    with warehouse.transaction() as connection:
        warehouse.replace("ml.identity_verdicts", tables["verdicts"], connection)
        warehouse.replace("ml.identity_clusters", tables["clusters"], connection)
        warehouse.insert_missing(
            "identity.person_id_ledger", tables["ledger"], person_ids.IDENTIFIER, connection
        )
        warehouse.insert_missing("identity.merges", tables["merges"], ["merge_id"], connection)
        warehouse.update("identity.merges", tables["undone"], ["merge_id"], connection)
