"""Settings for tests of ingestion: a workspace in a directory of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ingestion.landed_files import SettingsFor
from warehouse import Settings, load_settings


@pytest.fixture
def settings_for(tmp_path: Path) -> SettingsFor:
    """Make settings of a workspace with these sources; paths are relative to the test's folder."""

    def make(*sources: Mapping[str, Any]) -> Settings:
        config = tmp_path / "loopdrive.yml"
        content = {
            "workspace": "test", "currency": "GBP", "country": "GB", "time_zone": "Europe/London",
            "sources": [dict(source) for source in sources],
        }  # fmt: skip
        config.write_text(yaml.safe_dump(content))
        return load_settings(config, environ={})

    return make
