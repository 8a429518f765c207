"""The counters are exact however the router dies: at every line of its code, and at random moments at full speed."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from router.adapters.files.spool import SpoolLimits
from router.adapters.files.spool_accounting import LocalLogAccounting
from router.adapters.files.spool_folder import SpoolFolder, adopt
from router.requestlog.accounting import ModelTally
from router.requestlog.record import SHADOW, Record
from tests.answers import a_recorder, a_spool, add_answer, leave_as_killed, records_on_disk
from tests.killed_routers import adopt_and_fold, answer_a_little, answer_for_ever, last_told, running, wait_for

# Hundreds of processes live and die here, one after the other.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def _requests(tallies: Mapping[str, ModelTally]) -> int:
    return sum(tally.primary.requests + tally.shadow.requests for tally in tallies.values())


def _logged(tallies: Mapping[str, ModelTally]) -> dict[tuple[str, bool], int]:
    kinds = {(model, False): tally.primary.logged for model, tally in tallies.items()}
    kinds |= {(model, True): tally.shadow.logged for model, tally in tallies.items()}
    return {key: count for key, count in kinds.items() if count}


def _counted(records: Iterable[Record]) -> dict[tuple[str, bool], int]:
    return dict(Counter((record.model, record.kind == SHADOW) for record in records))


def _take_over(path: Path) -> SpoolFolder | None:
    return adopt(path) if path.exists() else None


@pytest.mark.parametrize("max_bytes", [1 << 30, 200_000], ids=["room", "full"])
def test_a_router_killed_at_full_speed_loses_no_answer_and_no_count(tmp_path: Path, max_bytes: int) -> None:
    """What was answered is in the counters; what the counters call logged is in the log, once; nothing else is."""
    chance = random.Random(max_bytes)
    for life in range(12):
        name = f"router-{life}"
        limits = SpoolLimits(max_bytes=max_bytes, segment_bytes=20_000)
        with running(answer_for_ever, tmp_path, name, limits, life) as (process, pipe):
            waited_for = wait_for(pipe, chance.randint(1, 3_000))
            process.kill()
            process.join()
            answered = max(waited_for, last_told(pipe))

        folder = _take_over(tmp_path / name)

        assert folder is not None
        tallies, records = folder.counters.tallies(), records_on_disk(folder.path)
        assert answered <= _requests(tallies) <= answered + 20
        assert _logged(tallies) == _counted(records)
        assert len({record.id for record in records}) == len(records)
        folder.close()
    total = LocalLogAccounting(tmp_path).read()
    assert total["requests"] == total["logged"] + total["sampled_out"] + sum(total["dropped"].values())
    assert set(total["dropped"]) <= {"spool_full"}


def test_a_router_may_die_at_any_line(tmp_path: Path) -> None:
    """Between any two lines from the making of the spool on, through rotation, release, sampling and a full spool."""
    for line in itertools.count(1):
        root, kept = tmp_path / "spool", tmp_path / "kept"
        with running(answer_a_little, root, kept, line) as (process, pipe):
            answered = last_told(pipe)
            process.join()

        folder = _take_over(root / "killed")

        if folder is None:
            assert answered == 0
        else:
            tallies = folder.counters.tallies()
            records = {record.id: record for place in (kept, folder.path) for record in records_on_disk(place)}
            assert answered <= _requests(tallies) <= answered + 3
            assert _logged(tallies) == _counted(records.values())
            folder.close()
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(kept, ignore_errors=True)
        if process.exitcode == 0:
            assert answered == 21
            assert line > 200
            break


def test_a_successor_may_die_at_any_line(tmp_path: Path) -> None:
    """Mending, folding and clearing up start over where they were cut off; the node's totals stay exact."""
    template = tmp_path / "template"
    spool = a_spool(template, "killed", SpoolLimits(max_bytes=10_000, segment_bytes=700))
    recorder = a_recorder(spool)
    for n in range(12):
        add_answer(recorder, n)
        recorder.flush()
    leave_as_killed(spool)
    last = spool.folder.segment_path(spool.folder.starts[-1])
    last.write_bytes(last.read_bytes() * 2 + b"torn")
    copies = len(last.read_bytes()) // 2 // (spool.folder.end // 12)

    for line in itertools.count(1):
        root = tmp_path / "spool"
        shutil.copytree(template, root)
        with running(adopt_and_fold, root / "killed", line) as (process, _):
            process.join()
        if (root / "killed").exists():
            with running(adopt_and_fold, root / "killed", 0) as (successor, _):
                successor.join()

        document = LocalLogAccounting(root).read()
        assert document["logged"] == document["requests"] == 12 + copies
        assert not (root / "killed").exists()
        shutil.rmtree(root)
        if process.exitcode == 0:
            assert line > 50
            break
