"""Who may hear what, and saying it exactly once.

Belongs here: programs, guardrails, copy, decisions, the outbox, providers and ad platforms,
budgets, conversions, the wallet and the audit log.
Keep out: models (`ml/`), transforming SQL (dbt), Dagster, the environment, the clock.
"""
