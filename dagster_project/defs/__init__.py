"""Definitions, one file for each schema or key prefix of the asset graph."""
