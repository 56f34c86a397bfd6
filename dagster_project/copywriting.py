"""Words for the programs: shipped templates, and drafts where a language model is configured.

Belongs here: which configuration leads to drafting. Keep out: words, lint, approval.
"""

from typing import Any

from activations import programs, variants
from dagster_project.resources import Workspace


def publish(workspace: Workspace) -> dict[str, Any]:
    """Bring words into the warehouse; returns what changed, for metadata."""
    settings = workspace.settings
    loaded = programs.load_all(settings.programs)
    changed = variants.publish_templates(
        workspace.warehouse, loaded, settings.brand, workspace.as_of
    )
    return {"changed": changed}
