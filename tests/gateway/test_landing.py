"""The landing log under faults: what was acknowledged is there, what was not can do no harm."""

import os
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import landing
from gateway.landing import LandingError, LandingLog, Rotation
from tests.gateway.conftest import Clock

ROOT = Path(__file__).resolve().parents[2]


def whole(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.jsonl"))]


def test_a_file_is_whole_before_ingestion_can_see_it(tmp_path: Path) -> None:
    clock = Clock()
    log = LandingLog(tmp_path, clock, Rotation(max_bytes=8, max_age=timedelta(seconds=60)))
    log.commit(b"one\n")
    assert whole(tmp_path) == []
    log.commit(b"two\n")  # full
    assert whole(tmp_path) == [b"one\ntwo\n"]
    log.commit(b"3\n")
    log.rotate_when_due()
    assert len(whole(tmp_path)) == 1
    clock.advance(seconds=60)
    log.rotate_when_due()
    assert whole(tmp_path) == [b"one\ntwo\n", b"3\n"]
    assert list(tmp_path.glob("*.part")) == []


def test_a_torn_last_line_is_cut_off_and_the_rest_is_published(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b'{"a":1}\n{"b":2}\n{"c"')
    (tmp_path / "b.part").write_bytes(b'{"only half')
    (tmp_path / "c.part").write_bytes(b"x\n" + b"y" * (3 << 20))
    assert LandingLog(tmp_path, Clock()).recover() == 2
    assert whole(tmp_path) == [b'{"a":1}\n{"b":2}\n', b"x\n"]
    assert list(tmp_path.glob("*.part")) == []


def test_a_crash_between_link_and_unlink_publishes_once(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"1\n")
    os.link(tmp_path / "a.part", tmp_path / "a.jsonl")
    LandingLog(tmp_path, Clock()).recover()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_two_gateways_share_a_folder_under_a_clock_that_stands(tmp_path: Path) -> None:
    first, second = LandingLog(tmp_path, Clock()), LandingLog(tmp_path, Clock())
    for number in range(4):
        for log, name in ((first, b"a"), (second, b"b")):
            log.commit(b"%s%d\n" % (name, number))
            assert log.recover() == 0, "a living writer's file was taken from it"
            if number % 2:
                log.rotate()
    assert sorted(whole(tmp_path)) == [b"a0\na1\n", b"a2\na3\n", b"b0\nb1\n", b"b2\nb3\n"]


def test_a_full_disk_keeps_nothing_and_the_next_line_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LandingLog(tmp_path, Clock())
    log.commit(b"before\n")
    log.rotate()
    with monkeypatch.context() as patched:
        full = lambda path: path.touch() or os.open("/dev/full", os.O_WRONLY)  # noqa: E731
        patched.setattr(landing, "_created", full)
        with pytest.raises(LandingError):
            log.commit(b"lost\n")
    log.commit(b"after\n")
    log.rotate()
    LandingLog(tmp_path, Clock()).recover()
    assert whole(tmp_path) == [b"before\n", b"after\n"]


def test_after_a_failed_sync_the_file_is_cut_back_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LandingLog(tmp_path, Clock())
    log.commit(b"synced\n")

    def fails(_descriptor: int) -> None:
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails)
        with pytest.raises(LandingError):
            log.commit(b"not synced\n")
    log.commit(b"next\n")
    log.rotate()
    assert whole(tmp_path) == [b"synced\n", b"next\n"]


def test_a_file_size_limit_tears_no_line(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the write that reaches it is short, the next one fails."""
    script = """
        import resource, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from gateway.landing import LandingError, LandingLog
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        log = LandingLog(Path(sys.argv[1]), lambda: datetime(2026, 1, 1, tzinfo=UTC))
        log.commit(b"a" * 599 + b"\\n")
        try:
            log.commit(b"b" * 599 + b"\\n")
        except LandingError:
            print("refused")
        log.commit(b"c" * 599 + b"\\n")
        log.rotate()
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.stdout == "refused\n"
    assert whole(tmp_path) == [b"a" * 599 + b"\n", b"c" * 599 + b"\n"]
