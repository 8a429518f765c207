"""`shepherd log tail` and `export` on a stream that a real recorder filled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from redis import Redis

from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.cli.main import cli
from router.gateway.log.shipper import Transfer
from router.requestlog.label import Label
from router.requestlog.record import Record, encode_record
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors
from tests.answers import a_record, a_recorder, a_spool, add_answer

pq = pytest.importorskip("pyarrow.parquet")

AT = 1_700_000_000.25


@pytest.fixture
def redis(valkey_socket: Path, tmp_path: Path) -> Iterator[str]:
    """Forty answers over two days, of two models and of none; several entries, one shipped twice; two labels."""
    url = f"unix://{valkey_socket}"
    asyncio.run(_fill(url, tmp_path / "spool"))
    yield url
    with Redis.from_url(url) as client:
        client.delete("shepherd:log", "shepherd:log:offsets", "shepherd:log:bytes", "shepherd:labels")


async def _fill(url: str, root: Path) -> None:
    stream, labels = RedisRequestLog(url), RedisLabels(url)
    spool = a_spool(root)
    recorder = a_recorder(spool)
    for n in range(1, 41):
        inputs = pack_tensors([to_tensor("x", f32([[n, n / 2]]))])
        outputs = pack_tensors([to_tensor("y", f32([[n * 2]]))])
        model = "flights" if n % 4 else "a/b"
        add_answer(
            recorder, n, model=model if n != 40 else "", at=AT + 86_400 * (n > 20), inputs=inputs, outputs=outputs
        )
        recorder.flush()
        if n % 10 == 0:
            await Transfer(spool.folder, stream).ship(1)
        if n == 10:
            (first,) = [entry async for entry in stream.entries()]
            await stream.append("again", 0, first.records, known=0)
    await labels.add("flights", [Label("request-1", 1)], at=AT + 100)
    await labels.add("flights", [Label("request-1", 0, 3.5)], at=AT + 200)
    await asyncio.gather(stream.close(), labels.close())


async def _add(url: str, *records: Record) -> None:
    stream = RedisRequestLog(url)
    frames = b"".join(map(encode_record, records))
    known = await stream.shipped("other")
    await stream.append("other", known, frames, known=known)
    await stream.close()


def f32(values: Any) -> Any:
    return np.array(values, dtype=np.float32)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["log", *arguments])


def exported(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for part in sorted(folder.rglob("*.parquet")):
        rows += pq.ParquetFile(part).read().to_pylist()
    return rows


def test_the_log_is_exported_once_by_model_and_day(redis: str, tmp_path: Path) -> None:
    """With features, answers and labels in columns; what was shipped twice is there once."""
    result = run("export", str(tmp_path / "out"), "--redis-url", redis, "-o", "json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"records": 40, "rows": 40, "labelled": 1, "left_out": 0}
    folders = {str(part.parent.relative_to(tmp_path / "out")) for part in (tmp_path / "out").rglob("*.parquet")}
    assert folders == {
        *(f"model={model}/date={day}" for model in ("flights", "a%2Fb") for day in ("2023-11-14", "2023-11-15")),
        "model=__HIVE_DEFAULT_PARTITION__/date=2023-11-15",
    }
    rows = {row["request_id"]: row for row in exported(tmp_path / "out")}
    assert len(rows) == 40
    assert [rows["request-3"][name] for name in ("input.x[0]", "input.x[1]", "output.y")] == [3.0, 1.5, 6.0]
    assert (rows["request-1"]["label_number"], rows["request-1"]["outcome_value"]) == (0.0, 3.5)


def test_no_record_ends_an_export(redis: str, tmp_path: Path) -> None:
    """What is no row of a table is left out and counted, beside whole numbers that no float is equal to."""
    asyncio.run(_add(redis, a_record(41, at=1e300), a_record(42, revision=1 << 63)))
    asyncio.run(_add(redis, *(a_record(n, features={"id": 9007199254740993 + n}) for n in range(43, 48))))

    result = run("export", str(tmp_path / "out"), "--redis-url", redis, "-o", "json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["left_out"] == 2
    found = {row["request_id"]: row["features"] for row in exported(tmp_path / "out")}
    assert len(found) == 45
    assert found["request-43"] == '{"id":9007199254741036}'


def test_an_export_as_of_a_time_knows_nothing_later(redis: str, tmp_path: Path) -> None:
    """Neither records nor labels."""
    at = "2023-11-14T22:15:50"  # 150 s after the first answers
    result = run("export", str(tmp_path / "out"), "--redis-url", redis, "--as-of", at, "--model", "flights")

    assert result.exit_code == 0, result.output
    rows = {row["request_id"]: row for row in exported(tmp_path / "out")}
    assert len(rows) == 15
    assert (rows["request-1"]["label_number"], rows["request-1"]["outcome_value"]) == (1.0, None)


def test_an_export_into_a_folder_that_holds_something_is_refused(redis: str, tmp_path: Path) -> None:
    """Rows would be there twice."""
    assert run("export", str(tmp_path), "--redis-url", redis).exit_code == 1


def test_the_latest_records_are_shown_in_their_order(redis: str) -> None:
    """A line each, of one model or all."""
    lines = run("tail", "flights", "-n", "3", "--redis-url", redis, "-o", "json").stdout.splitlines()

    assert [json.loads(line)["request_id"] for line in lines] == ["request-37", "request-38", "request-39"]
    assert len(run("tail", "-n", "5", "--redis-url", redis).stdout.splitlines()) == 5


def test_a_log_that_cannot_be_reached_is_no_gateway(tmp_path: Path) -> None:
    """Exit status 3, and why."""
    result = run("tail", "--redis-url", f"unix://{tmp_path}/nowhere.sock")

    assert result.exit_code == 3
    assert "Redis" in result.output
