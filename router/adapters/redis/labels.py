"""Labels in Redis or Valkey: a bounded stream that routers add to and the monitor reads.

Key, under one prefix (default `shepherd:`):

- `labels`   stream   `model`, `request_id`, `at` (Unix seconds), `label` (JSON; absent when only an outcome is known),
                      `outcome` (a number; absent when none was given)

A message's entries go in one transaction: all are in the stream or none. One that is sent again, because its answer was
lost, is in the stream twice: whoever joins must take one label of a request, the first or the last.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError

from router.adapters.redis.client import asyncio_client
from router.ports import StoreUnavailable
from router.requestlog.label import Label, encode_label_value

MAX_ENTRIES: Final = 1_000_000
"""Kept in the stream, about; the oldest go."""
_PAGE_ENTRIES: Final = 1000
_Value = bool | int | float | str


class PostedLabel(msgspec.Struct, frozen=True, gc=False):
    """A label as it lies in the stream."""

    id: str
    """The stream's id; grows."""
    model: str
    at: float
    """Unix seconds at which a router took it in."""
    label: Label


class RedisLabels:
    """A `LabelSink`, and its readers' end. Every method raises `StoreUnavailable` when Redis does not answer in time.

    The timeout is short: who posts labels can send them again, and holding them would fill this process.
    """

    def __init__(
        self, url: str, *, prefix: str = "shepherd:", timeout_s: float = 2.0, max_entries: int = MAX_ENTRIES
    ) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._stream = f"{prefix}labels"
        self._max_entries = max_entries

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def add(self, model: str, labels: Sequence[Label], *, at: float) -> None:
        """Put labels at the end of the stream, all or none."""
        with _reporting():
            async with self._redis.pipeline(transaction=True) as pipe:
                for label in labels:
                    pipe.xadd(self._stream, _fields(model, label, at), maxlen=self._max_entries, approximate=True)
                await pipe.execute()

    async def entries(self, after: str = "0-0") -> AsyncGenerator[PostedLabel, None]:
        """Yield what the stream holds after an id, oldest first, and end where it ends; skip what is unreadable."""
        while True:
            with _reporting():
                page: Any = await self._redis.xrange(self._stream, min=f"({after}", count=_PAGE_ENTRIES)
            for raw_id, fields in page:
                after = raw_id.decode()
                posted = read_entry(after, fields)
                if posted is not None:
                    yield posted
            if len(page) < _PAGE_ENTRIES:
                return


def read_entry(entry_id: str, fields: dict[bytes, bytes]) -> PostedLabel | None:
    """Read an entry of the stream; None when it is none of ours."""
    try:
        value = _decode(fields[b"label"]) if b"label" in fields else None
        outcome = float(fields[b"outcome"]) if b"outcome" in fields else None
        label = Label(fields[b"request_id"].decode(), value, outcome)
        return PostedLabel(entry_id, fields[b"model"].decode(), float(fields[b"at"]), label)
    except (KeyError, ValueError, msgspec.DecodeError):
        return None


def _fields(model: str, label: Label, at: float) -> dict[Any, Any]:
    fields: dict[Any, Any] = {"model": model, "request_id": label.request_id, "at": repr(at)}
    if label.label is not None:
        fields["label"] = encode_label_value(label)
    if label.outcome is not None:
        fields["outcome"] = repr(label.outcome)
    return fields


_decode = msgspec.json.Decoder(_Value | tuple[_Value, ...]).decode


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis, where labels are stored: {error}; send them again") from error
