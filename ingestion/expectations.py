"""stub"""

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    name: str


def check() -> None: ...
