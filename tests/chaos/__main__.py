"""`make chaos`: a rehearsal of sending in which everything fails at random.

    python -m tests.chaos [--messages 100000] [--seed 7] [--quiet]

Ends with the books; exits with 1 when a promise was broken.
"""

import argparse
import secrets
import sys

from tests.chaos.rehearsal import rehearse


def main() -> int:
    """Play it, print the books."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="draw the same faults again")
    parser.add_argument("--quiet", action="store_true", help="the books alone")
    given = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if given.seed is None else given.seed
    print(f"{given.messages} messages, seed {seed}", flush=True)
    books = rehearse(given.messages, seed, (lambda _line: None) if given.quiet else _say)
    print("\n".join(books.lines()), flush=True)
    print("Every promise was kept." if books.are_right else f"Broken; again with --seed {seed}.")
    return 0 if books.are_right else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
