"""`shepherd feedback`: send back what became of requests, from a CSV file."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import httpx
import msgspec

from router.cli.client import GatewayUnreachable, is_local
from router.cli.failures import CommandFailed
from router.cli.location import find_node
from router.cli.options import (
    key_header,
    key_option,
    output_option,
    preferred,
    reported_failures,
    state_dir,
    state_option,
)
from router.cli.output import OutputFormat, show
from router.requestlog.label import MAX_LABELS

#: How often a message is sent again after 429 or 503.
_ATTEMPTS: Final = 5
_COLUMNS: Final = ("request_id", "label", "outcome")
_SHOWN: Final = 5


class _Sender(NamedTuple):
    http: httpx.Client
    path: str

    def send(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Send one message, again when the gateway asks for it; return what it says of the entries."""
        for attempt in range(_ATTEMPTS):
            try:
                answer = self.http.post(self.path, json={"labels": entries})
            except httpx.HTTPError as error:
                raise GatewayUnreachable(f"{self.http.base_url}: {error}") from None
            if answer.status_code not in {429, 503}:
                break
            if attempt < _ATTEMPTS - 1:
                time.sleep(float(answer.headers.get("retry-after", 1)))
        try:
            document = answer.json()
        except ValueError:
            document = {"error": answer.text[:500]}
        if "accepted" not in document:
            raise CommandFailed(f"HTTP {answer.status_code}: {document.get('error')}")
        return dict(document)


@click.command(short_help="Send labels from a CSV file.")
@click.argument("model")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@state_option
@key_option
@click.option("--url", envvar="SHEPHERD_INFER_URL", help="Address of the inference API, instead of a state directory.")
@output_option
def feedback(
    *, model: str, file: Path, state: str | None, key: str | None, url: str | None, output: OutputFormat
) -> None:
    """Send the labels in FILE for answers of MODEL: a CSV with request_id and label, outcome, or both.

    Numbers, true and false are sent as such. It is safe to send a file twice.
    """
    with reported_failures():
        address = preferred(state, url) or find_node(state_dir(state)).http
        with (
            file.open(encoding="utf-8-sig", newline="") as lines,
            httpx.Client(
                base_url=address.rstrip("/"), headers=key_header(key), timeout=30.0, trust_env=not is_local(address)
            ) as http,
        ):
            total = _send_all(_Sender(http, f"/v2/models/{model}/feedback"), _entries(csv.DictReader(lines)))
    show(output, total, lambda: f"{total['accepted']} accepted, {total['rejected']} rejected")
    if total["rejected"]:
        first = "\n".join(f"line {e['line']}: {e['field']}: {e['error']}" for e in total["errors"][:_SHOWN])
        raise CommandFailed(f"{total['rejected']} of the labels were refused:\n{first}")


def _send_all(sender: _Sender, entries: Iterator[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {"accepted": 0, "rejected": 0, "errors": []}
    line = 2  # the first after the header
    while part := list(islice(entries, MAX_LABELS)):
        answer = sender.send(part)
        total["accepted"] += answer["accepted"]
        total["rejected"] += answer["rejected"]
        for error in answer.get("errors", ()):
            total["errors"].append({"line": line + error.pop("index"), **error})
        line += len(part)
    return total


def _entries(reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    names = set(reader.fieldnames or ())
    if "request_id" not in names or not names & {"label", "outcome"}:
        raise CommandFailed("the file needs the columns request_id and label (or outcome)")
    for row in reader:
        entry: dict[str, Any] = {name: _typed(row[name]) for name in _COLUMNS[1:] if row.get(name)}
        yield {"request_id": row["request_id"], **entry}


def _typed(text: str) -> Any:
    """Read a JSON value where it is one; else it is a name."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return text if value is None or isinstance(value, dict) else value
