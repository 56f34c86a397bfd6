"""The rehearsal: a simulated world around the loop, with a truth to be judged by.

Belongs here: the market (`market`), what real orders lack (`orders_companion`), the providers'
stand-ins (`standins`), the scorecard (`scorecard`). Does not belong here: anything the loop needs
in earnest; no other room imports this one.

`found` writes the history once, `live` lets one more stretch of time pass. Both only write
landing files, their own state and the truth, and both may be called again.
"""

from datetime import datetime
from pathlib import Path

from sandbox import market, orders_companion
from warehouse import SimulationSettings

__all__ = ["found", "is_founded", "live", "market", "orders_companion"]


def is_founded(workspace_home: Path) -> bool:
    """Whether a world of this workspace has its history already."""
    return (workspace_home / "sandbox" / "state").exists()


def found(
    simulation: SimulationSettings, workspace_home: Path, as_of: datetime, currency: str = "EUR"
) -> list[Path]:
    """Write the simulated history up to `as_of`, once.

    Args:
        simulation: kind `market` (everything is simulated) or `orders` (real orders, and the
            sandbox supplies contact cards, consents, visits, ads and answers).
        workspace_home: the workspace's folder; files go to `landing`, state to `sandbox/state`.
        as_of: end of the history.
        currency: the workspace's currency.

    Returns:
        The files written; none when the history was there already.
    """
    if simulation.kind == "orders":
        return orders_companion.found(simulation, workspace_home, as_of, currency)
    return market.found(simulation, workspace_home, as_of, currency)


def live(
    simulation: SimulationSettings, workspace_home: Path, as_of: datetime, currency: str = "EUR"
) -> list[Path]:
    """Let (previous as_of, as_of] pass and write its landing files; founds first if need be.

    Raises:
        sandbox.market.landing.LandingError: a landing file of that day says something else.
    """
    if simulation.kind == "orders":
        return orders_companion.live(simulation, workspace_home, as_of, currency)
    return market.live(simulation, workspace_home, as_of, currency)
