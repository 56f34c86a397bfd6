"""Markov, first, last and linear on a million raw paths, beside ChannelAttribution on the same.

Belongs here: the paths, the measurement. Keep out: the arithmetic (`ml.attribution`), limits and
pages (`__main__.py`).
"""

import importlib.util
import json
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

JOURNEYS = 1_000_000
SEED = 7
CHANNELS = (
    "paid_search", "direct", "organic", "email", "push", "referral", "social", "sms", "affiliate",
    "display",
)  # fmt: skip
# Weight of each channel as a step, and what meeting it adds to the chance of a conversion.
WEIGHTS = (0.19, 0.18, 0.15, 0.12, 0.08, 0.08, 0.07, 0.05, 0.04, 0.04)
LIFTS = (0.03, 0.01, 0.02, 0.06, 0.12, 0.04, 0.02, 0.09, 0.05, 0.01)
MEAN_LENGTH = 3.45
PEER = "ChannelAttribution"


def run(journeys: int = JOURNEYS) -> dict[str, Any]:
    """Measure each in a process of its own, on the same rows of path, conversion and null.

    Returns seconds and peak memory (MiB, the process with its imports and the paths), and, where
    the peer is installed (dependency group `bench`), its seconds and how often ours fit in.
    """
    ours = _measured(_own, journeys)
    found = {
        "journeys": journeys,
        "distinct_paths": ours["distinct_paths"],
        "seconds": round(ours["seconds"], 3),
        "peak_mebibytes": round(ours["peak_mebibytes"]),
        "peer": PEER if importlib.util.find_spec(PEER) else f"{PEER} is not installed",
    }
    if importlib.util.find_spec(PEER):
        theirs = _measured(_peer, journeys)
        found |= {
            "peer_seconds": round(theirs["seconds"], 2),
            "peer_peak_mebibytes": round(theirs["peak_mebibytes"]),
            "ratio": round(theirs["seconds"] / ours["seconds"], 1),
        }
    return found


def paths(journeys: int, seed: int = SEED) -> pa.Table:
    """Random journeys, one row each: path ("a > b"), conversions and nulls (0 or 1).

    Lengths are geometric with a mean of 3.45; 15 % of the journeys convert, sooner after some
    channels than after others.
    """
    draw = np.random.default_rng(seed)
    lengths = draw.geometric(1 / MEAN_LENGTH, journeys)
    starts = np.concatenate([[0], lengths.cumsum()])
    weights = np.array(WEIGHTS) / sum(WEIGHTS)
    steps = draw.choice(len(CHANNELS), starts[-1], p=weights)
    lift = np.add.reduceat(np.array(LIFTS)[steps], starts[:-1])
    converted = draw.random(journeys) < 0.15 * lift / lift.mean()
    names = pa.DictionaryArray.from_arrays(
        steps.astype(np.int8), list(CHANNELS)
    ).dictionary_decode()
    lists = pa.ListArray.from_arrays(starts.astype(np.int32), names)
    return pa.table(
        {
            "path": pc.binary_join(lists, " > "),
            "conversions": converted.astype(np.int64),
            "nulls": (~converted).astype(np.int64),
        }
    )


def _own(table: pa.Table) -> dict[str, Any]:
    from ml import attribution

    begun = time.perf_counter()
    counted = attribution.journeys(table["path"], table["conversions"], table["nulls"])
    attribution.touch_credits(counted)
    attribution.removal_effects(counted)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "distinct_paths": len(counted.conversions)}


def _peer(table: pa.Table) -> dict[str, Any]:
    import ChannelAttribution

    frame = table.to_pandas()
    frame["path"] = frame["path"].astype(object)
    columns = {"var_path": "path", "var_conv": "conversions"}
    begun = time.perf_counter()
    ChannelAttribution.heuristic_models(frame, **columns, sep=">", flg_pro=False)
    ChannelAttribution.markov_model(frame, **columns, var_null="nulls", sep=">", flg_pro=False)
    return {"seconds": time.perf_counter() - begun}


def _measured(what: Callable[[pa.Table], dict[str, Any]], journeys: int) -> dict[str, Any]:
    """The best of three runs and the peak of all, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_in_a_process, args=(what, journeys, sending))
    process.start()
    try:
        return json.loads(receiving.recv())
    finally:
        process.join()


def _in_a_process(
    what: Callable[[pa.Table], dict[str, Any]], journeys: int, sending: Connection
) -> None:
    import resource

    table = paths(journeys)
    best = min((what(table) for _ in range(3)), key=lambda found: found["seconds"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sending.send(json.dumps(best | {"peak_mebibytes": peak}))
