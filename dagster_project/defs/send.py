"""send/*: one asset for each message provider; what is due goes out, each message once.

Keep out: states, re-checks and requests (`activations.dispatch`).
"""

from datetime import datetime, timedelta

import dagster as dg

from activations import dispatch, lookups, versions
from activations.pace import Pace
from dagster_project import learning, providers
from dagster_project.defs import decide
from dagster_project.resources import Workspace
from warehouse import load_settings


class Dispatch(dg.Config):
    """Until when, ISO 8601. Empty: business time, or in a sandbox the end of its day."""

    until: str = ""


def _send(name: str, before: list[dg.AssetKey]) -> dg.AssetsDefinition:
    @dg.asset(
        key=["send", name],
        group_name="send",
        kinds={"python"},
        deps=before,
        description=f"Everything due through {name}, each message once.",
    )
    def send(config: Dispatch, workspace: Workspace) -> dg.MaterializeResult:
        with providers.message_line(workspace.settings, name) as (provider, line):
            begin, end = _span(workspace, config.until)
            house = workspace.warehouse
            if workspace.settings.mode == "live":
                line.set_clock(end)
                if line.sender is not None:
                    lookups.look_up(house, provider, line.sender, end)
                pace = Pace(name, provider.limits)
                total = dispatch.send_due(house, end, provider, line.sender, pace=pace)
            else:
                total = dispatch.send_until(
                    house, begin, end, provider, line.sender, line.set_clock
                )
        ending = versions.outdated([provider.version], end.date())
        shown = {"api_version": f"{provider.version.api} {provider.version.version}"}
        if ending:
            shown["api_version_warning"] = "; ".join(ending)
        return dg.MaterializeResult(metadata=learning.figures(total) | shown)

    return send


def _span(workspace: Workspace, until: str) -> tuple[datetime, datetime]:
    """From business time until when; a simulated day is played to its end.

    So its answers land for the next one.
    """
    now = workspace.as_of
    if until:
        return now, datetime.fromisoformat(until)
    return now, now + timedelta(days=1) if workspace.settings.mode == "sandbox" else now


def _all() -> list[dg.AssetsDefinition]:
    made: list[dg.AssetsDefinition] = []
    for name in providers.message_providers(load_settings()):
        before = [made[-1].key] if made else [asset.key for asset in decide.decides]
        made.append(_send(name, before))
    return made


sends = _all()
