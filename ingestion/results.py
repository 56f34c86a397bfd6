"""What loading a file came to.

Belongs here: the figures and verdicts other modules count and hand out.
Keep out: any reading or writing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["loaded", "already_loaded", "held", "failed"]

# Contract of raw.batches: fewer rejects never hold a batch, nor does a share of 5 % or less.
HOLD_REJECTS = 20
HOLD_SHARE = 0.05
# A held batch is read again when it is accepted, so a sample of its rejects is enough.
HELD_SAMPLE = 1_000


class IngestionError(ValueError):
    """A file or batch that cannot be used; one line that names it and the cause."""


class FileError(IngestionError):
    """A file that cannot be read. The text is the cause, without the file's name."""


@dataclass(frozen=True)
class BatchResult:
    """One file and what became of its rows; `rows_read` is the sum of the other three."""

    source: str
    location: str
    rows_read: int
    rows_loaded: int
    rows_duplicate: int
    rows_rejected: int
    status: Status
    reason: str | None = None
    batch_id: int | None = None
    unknown_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reject:
    """One row that was not loaded: its line in the file, the reason, the row as it stood."""

    line_number: int
    reason: str
    row: str


@dataclass
class Tally:
    """Running counts of one file, and the first of its rejects."""

    read: int = 0
    duplicate: int = 0
    rejected: int = 0
    sample: list[Reject] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_types: Counter[str] = field(default_factory=Counter)

    @property
    def loaded(self) -> int:
        """Rows that reached their table."""
        return self.read - self.duplicate - self.rejected

    def reject(self, rejects: Sequence[Reject]) -> None:
        """Count rejects, and keep the first of them for a batch that is held."""
        self.rejected += len(rejects)
        self.reasons.update(reject.reason for reject in rejects)
        self.sample.extend(rejects[: max(0, HELD_SAMPLE - len(self.sample))])

    @property
    def main_reason(self) -> str:
        """The most frequent reason; of equals, the first in the file."""
        return self.reasons.most_common(1)[0][0]

    @property
    def is_mostly_wrong(self) -> bool:
        """Whether the batch must be held whole."""
        return self.rejected >= HOLD_REJECTS and self.rejected > HOLD_SHARE * self.read
