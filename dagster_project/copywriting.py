"""Words for the programs: shipped templates, and drafts where a language model is configured.

Belongs here: which configuration leads to drafting. Keep out: words, lint, approval.
"""

from typing import Any

from activations import drafts, programs, variants
from dagster_project import learning
from dagster_project.resources import Workspace


def publish(workspace: Workspace) -> dict[str, Any]:
    """Bring words into the warehouse; returns what changed, for metadata."""
    settings = workspace.settings
    loaded = programs.load_all(settings.programs)
    changed = variants.publish_templates(
        workspace.warehouse, loaded, settings.brand, workspace.as_of
    )
    writer = drafts.open_writer(settings.secrets)
    if writer is None:
        return {"changed": changed, "drafts": "no language model is configured"}
    personas = learning.frame(workspace, "ml.personas")
    alive = learning.records(personas[personas["retired_at"].isna()])
    brand, as_of = settings.brand, workspace.as_of
    counts = [
        drafts.draft(workspace.warehouse, program, brand, writer, as_of, alive)
        for program in loaded
    ]
    return {"changed": changed, "drafts": sum(counts)}
