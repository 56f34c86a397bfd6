"""The `loopdrive` command. One file for each family of commands; `app.py` puts them together."""

from dagster_project.cli.app import main

__all__ = ["main"]
