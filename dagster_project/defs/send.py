"""send/*: one asset for each message provider; what is due goes out, each message once.

Keep out: states, re-checks and requests (`activations.dispatch`).
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from activations import dispatch, outbox
from activations import providers as messaging
from dagster_project import learning, providers
from dagster_project.defs import decide
from dagster_project.resources import Workspace


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
        total = dispatch.SendSummary()
        with providers.message_line(workspace.settings, name) as (provider, line):
            for tick in _ticks(workspace, config.until):
                line.set_clock(tick)
                total += dispatch.send_due(workspace.warehouse, tick, provider, line.sender)
        return dg.MaterializeResult(metadata=learning.figures(total))

    return send


def _ticks(workspace: Workspace, until: str) -> Iterator[datetime]:
    """The moments at which something is due; asked anew after each, since sending may re-plan."""
    now = workspace.as_of
    if until:
        end = datetime.fromisoformat(until)
    else:
        # A simulated day is played to its end, so that its answers land for the next one.
        end = now + timedelta(days=1) if workspace.settings.mode == "sandbox" else now
    if workspace.settings.mode == "live":
        yield end
        return
    while due := outbox.due_times(workspace.warehouse, now, end):
        now = due[0]
        yield now


def _all() -> list[dg.AssetsDefinition]:
    made: list[dg.AssetsDefinition] = []
    for name in messaging.NAMES:
        before = [made[-1].key] if made else [asset.key for asset in decide.decides]
        made.append(_send(name, before))
    return made


sends = _all()
