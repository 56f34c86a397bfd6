"""Thompson decisions with propensities, against bare draws from the same posteriors.

Belongs here: the measurement and its people. Keep out: anything the policy needs.
"""

import time
from typing import Any

import numpy as np

from bench.ingestion import peak_memory
from ml import policy

PEOPLE = 1_000_000
ARMS = 10
PERSONAS = 12
SEED = 7
BARE_ROWS = 100_000
BARE_ROUNDS = 9
MABWISER_TIMES_BARE = 1_650_000 / 67_000
"""How much longer than a bare draw MABWiser's `predict` takes (Beta-Bernoulli Thompson sampling
over 10 arms, one decision a call, no propensities): both were measured in one run on two cores like
these, 67,000 and 1.65 million decisions a second. It is not installed with the project."""


def run(people: int = PEOPLE) -> dict[str, Any]:
    """Decide for `people` persons over `ARMS` arms, nine in ten of which each may be shown.

    Posteriors are those of `PERSONAS` personas; every person has eligible arms, a key and a draw
    of its own. Returns decisions per second with all propensities, bare `beta` draws per second
    with the greatest taken, the error of the propensities, and peak memory in MiB.
    """
    rng = np.random.default_rng(SEED)
    persona = rng.integers(0, PERSONAS, people)
    alpha = rng.uniform(20, 400, (PERSONAS, ARMS))
    beta = alpha * rng.uniform(20, 40, (PERSONAS, ARMS))
    eligible = rng.random((people, ARMS)) < 0.9
    keys = np.char.add("opportunity ", np.arange(people).astype(str)).astype(object)
    assignment = np.full(people, "policy", dtype=object)
    matured = np.full(ARMS, 1000)
    with peak_memory() as peak:
        started = time.perf_counter()
        choice = policy.choose(
            eligible, alpha[persona], beta[persona], matured, assignment, 0, SEED, keys
        )
        seconds = time.perf_counter() - started
    bare = _bare(rng, alpha[persona[:BARE_ROWS]], beta[persona[:BARE_ROWS]])
    return {
        "people": people,
        "arms": ARMS,
        "seconds": round(seconds, 2),
        "decisions_per_second": round(people / seconds),
        "bare_draws_per_second": round(bare),
        "against_mabwiser": round(people / seconds / bare * MABWISER_TIMES_BARE, 1),
        "propensity_error": float(f"{choice.error:.1e}"),
        "peak_mebibytes": round(peak[0]),
    }


def _bare(rng: np.random.Generator, alpha: np.ndarray, beta: np.ndarray) -> float:
    """Draws per second, the middle of `BARE_ROUNDS`."""
    taken = []
    for _ in range(BARE_ROUNDS):
        started = time.perf_counter()
        rng.beta(alpha, beta).argmax(axis=1)
        taken.append(time.perf_counter() - started)
    return len(alpha) / float(np.median(taken))
