"""Thompson decisions with propensities, beside bare draws and MABWiser on the same posteriors.

Belongs here: the measurement and its people. Keep out: anything the policy needs.
"""

import importlib.util
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
PEER = "mabwiser"
PEER_DECISIONS = 20_000


def run(people: int = PEOPLE) -> dict[str, Any]:
    """Decide for `people` persons over `ARMS` arms, nine in ten of which each may be shown.

    Posteriors are those of `PERSONAS` personas; every person has eligible arms, a key and a draw
    of its own. Returns decisions per second with all propensities, bare `beta` draws per second
    with the greatest taken, the error of the propensities, and peak memory in MiB; and, where the
    peer is installed (dependency group `bench`), its `predict` at the posterior of one persona:
    one decision a call, no propensities.
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
    found = {
        "people": people,
        "arms": ARMS,
        "seconds": round(seconds, 2),
        "decisions_per_second": round(people / seconds),
        "bare_draws_per_second": round(bare),
        "propensity_error": float(f"{choice.error:.1e}"),
        "peak_mebibytes": round(peak[0]),
        "peer": PEER if importlib.util.find_spec(PEER) else f"{PEER} is not installed",
    }
    if importlib.util.find_spec(PEER):
        theirs = _peer(alpha[0], beta[0])
        found["peer_decisions_per_second"] = round(theirs)
        found["ratio"] = round(people / seconds / theirs, 1)
    return found


def _bare(rng: np.random.Generator, alpha: np.ndarray, beta: np.ndarray) -> float:
    """Draws per second, the middle of `BARE_ROUNDS`."""
    taken = []
    for _ in range(BARE_ROUNDS):
        started = time.perf_counter()
        rng.beta(alpha, beta).argmax(axis=1)
        taken.append(time.perf_counter() - started)
    return len(alpha) / float(np.median(taken))


def _peer(alpha: np.ndarray, beta: np.ndarray) -> float:
    """Decisions per second of MABWiser after as many successes and failures as the posterior."""
    from mabwiser.mab import MAB, LearningPolicy

    counts = np.column_stack([alpha, beta]).astype(int).ravel()
    rewards = np.repeat(np.tile([1, 0], len(alpha)), counts)
    arms = np.repeat(np.repeat(np.arange(len(alpha)), 2), counts)
    bandit = MAB(list(range(len(alpha))), LearningPolicy.ThompsonSampling(), seed=SEED)
    bandit.fit(arms, rewards)
    started = time.perf_counter()
    for _ in range(PEER_DECISIONS):
        bandit.predict()
    return PEER_DECISIONS / (time.perf_counter() - started)
