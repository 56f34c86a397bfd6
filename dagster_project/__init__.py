"""Wiring: which asset when, with what, recorded how; and the command line.

Keep out: maths, payload building, SQL and thresholds. They live in the rooms that this one calls.
"""
