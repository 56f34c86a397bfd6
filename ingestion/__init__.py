"""Ingestion: what sources say becomes rows of `raw`, each exactly once.

Belongs here: reading files and landed webhooks, row contracts, quarantine, dedup, source checks.
Keep out: Dagster, models, programs, any meaning that two sources would have to agree on.
"""

from ingestion.batches import accept, ingest
from ingestion.expectations import CheckResult, check
from ingestion.results import BatchResult, IngestionError

__all__ = ["BatchResult", "CheckResult", "IngestionError", "accept", "check", "ingest"]
