"""Jobs: selections of assets. Their rhythm is in `schedules.py`.

Keep out: what the assets do.
"""

import dagster as dg

IN_PROCESS = dg.in_process_executor

daily_loop = dg.define_asset_job(
    "daily_loop", selection=dg.AssetSelection.all(), executor_def=IN_PROCESS
)
listen = dg.define_asset_job(
    "listen",
    selection=dg.AssetSelection.groups("raw", "settle", "staging", "identity", "marts"),
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
    "retrain", selection=dg.AssetSelection.groups("ml"), executor_def=IN_PROCESS
)
