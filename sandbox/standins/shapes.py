"""Shapes: what a request body must look like, written as small composable checks.

Belongs here: the vocabulary (text, integer, record, …). A check takes a value and its path and
returns the problems it finds.
Keep out: any provider's field; each stand-in states its own shapes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

EMAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
E164 = r"\+[1-9]\d{6,14}"
HTTPS_URL = r"https?://[A-Za-z0-9.\-\[\]:]+(/[^\s]*)?(\?[^\s]*)?"


@dataclass(frozen=True)
class Problem:
    """One violation: where (dotted path) and what."""

    path: str
    message: str


Check = Callable[[object, str], list[Problem]]


def _at(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def text(minimum: int = 0, maximum: int | None = None, pattern: str | None = None) -> Check:
    """Accept a string by its length and by a pattern that must match whole."""
    compiled = re.compile(pattern) if pattern else None

    def check(value: object, path: str) -> list[Problem]:
        if not isinstance(value, str):
            return [Problem(path, "must be a string")]
        if len(value) < minimum:
            return [Problem(path, f"must have at least {minimum} characters")]
        if maximum is not None and len(value) > maximum:
            return [Problem(path, f"must have at most {maximum} characters")]
        if compiled and not compiled.fullmatch(value):
            return [Problem(path, "has an invalid format")]
        return []

    return check


def integer(minimum: int | None = None, maximum: int | None = None) -> Check:
    """Accept a whole number (no boolean) within bounds."""

    def check(value: object, path: str) -> list[Problem]:
        if not isinstance(value, int) or isinstance(value, bool):
            return [Problem(path, "must be an integer")]
        if minimum is not None and value < minimum:
            return [Problem(path, f"must be at least {minimum}")]
        if maximum is not None and value > maximum:
            return [Problem(path, f"must be at most {maximum}")]
        return []

    return check


def number(value: object, path: str) -> list[Problem]:
    """Accept a number (no boolean)."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return [] if fits else [Problem(path, "must be a number")]


def boolean(value: object, path: str) -> list[Problem]:
    """Accept true or false."""
    return [] if isinstance(value, bool) else [Problem(path, "must be a boolean")]


def anything(value: object, path: str) -> list[Problem]:
    """Accept every value."""
    return []


def choice(*allowed: object) -> Check:
    """Accept one of the listed values."""

    def check(value: object, path: str) -> list[Problem]:
        return [] if value in allowed else [Problem(path, "is not one of the allowed values")]

    return check


def array(item: Check, minimum: int = 0, maximum: int | None = None) -> Check:
    """Accept a list by its length, every entry checked."""

    def check(value: object, path: str) -> list[Problem]:
        if not isinstance(value, list):
            return [Problem(path, "must be an array")]
        if len(value) < minimum:
            return [Problem(path, f"must have at least {minimum} entries")]
        if maximum is not None and len(value) > maximum:
            return [Problem(path, f"is limited to {maximum} entries; {len(value)} were given")]
        return [problem for at, entry in enumerate(value) for problem in item(entry, _at(path, at))]

    return check


def mapping(item: Check) -> Check:
    """Accept an object with any names, every value checked."""

    def check(value: object, path: str) -> list[Problem]:
        if not isinstance(value, dict):
            return [Problem(path, "must be an object")]
        return [
            problem for name, entry in value.items() for problem in item(entry, _at(path, name))
        ]

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Accept an object with these names only."""
    known = {**(optional or {}), **required}

    def check(value: object, path: str) -> list[Problem]:
        if not isinstance(value, dict):
            return [Problem(path, "must be an object")]
        problems = [
            Problem(_at(path, name), "is required") for name in required if name not in value
        ]
        for name, entry in value.items():
            if name in known:
                problems += known[name](entry, _at(path, name))
            else:
                problems.append(Problem(_at(path, name), "is not allowed"))
        return problems

    return check


def either(*checks: Check) -> Check:
    """Accept what one of the checks accepts; tells the last one's problems."""

    def check(value: object, path: str) -> list[Problem]:
        problems: list[Problem] = []
        for one in checks:
            problems = one(value, path)
            if not problems:
                return []
        return problems

    return check
