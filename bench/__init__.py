"""Benchmarks: what the project costs beside bare baselines and its own limits.

Belongs here: measurements, the baselines they are compared with, the page they are written to. Keep
out: anything another room needs.
"""
