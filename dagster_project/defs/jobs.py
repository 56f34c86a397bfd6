"""Jobs: selections of assets. Their rhythm is in `schedules.py`.

Keep out: what the assets do.
"""

import dagster as dg

IN_PROCESS = dg.in_process_executor

daily_loop = dg.define_asset_job(
    "daily_loop", selection=dg.AssetSelection.all(), executor_def=IN_PROCESS
)
# One step gives identifiers their clusters (ml) and persons (identity): it runs whole or not.
_IDENTITY = dg.AssetSelection.assets(
    ["ml", "identity_verdicts"],
    ["ml", "identity_clusters"],
    ["identity", "person_id_ledger"],
    ["identity", "merges"],
)
listen = dg.define_asset_job(
    "listen",
    selection=dg.AssetSelection.groups("raw", "settle", "staging", "identity", "marts") | _IDENTITY,
    executor_def=IN_PROCESS,
)
send_due = dg.define_asset_job(
    "send_due", selection=dg.AssetSelection.groups("send"), executor_def=IN_PROCESS
)
spend_sync = dg.define_asset_job(
    "spend_sync",
    selection=dg.AssetSelection.assets(["raw", "workspace"], ["raw", "ad_spend"]),
    executor_def=IN_PROCESS,
)
rebalance_budgets = dg.define_asset_job(
    "rebalance_budgets", selection=dg.AssetSelection.groups("budget"), executor_def=IN_PROCESS
)
retrain = dg.define_asset_job(
    "retrain", selection=dg.AssetSelection.groups("ml") - _IDENTITY, executor_def=IN_PROCESS
)
