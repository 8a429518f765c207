"""`shepherd infer`: one request through the front door, and where it went."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import httpx
from rich.table import Table

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
from router.cli.traffic import read_pairs

_OWN_HEADERS = "x-shepherd-"


@click.command(short_help="Send one inference request.")
@click.argument("model")
@click.option("--data", required=True, metavar="JSON|@FILE|-", help="V2 inference request.")
@click.option("--version", type=click.IntRange(min=1), help="Pin this version instead of following the policy.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Request header, such as the sticky key."
)
@key_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.001), default=30.0, show_default=True)
@state_option
@click.option("--url", envvar="SHEPHERD_INFER_URL", help="Address of the inference API, instead of a state directory.")
@output_option
def infer(
    *,
    model: str,
    data: str,
    version: int | None,
    headers: Sequence[str],
    key: str | None,
    timeout_s: float,
    state: str | None,
    url: str | None,
    output: OutputFormat,
) -> None:
    """Send one inference request to MODEL; show the answer and the routing headers."""
    content = _read_data(data)
    pin = f"/versions/{version}" if version else ""
    sent = {"content-type": "application/json"} | key_header(key) | read_pairs(headers)
    with reported_failures():
        address = preferred(state, url) or find_node(state_dir(state)).http
        answer = _post(f"{address.rstrip('/')}/v2/models/{model}{pin}/infer", content, sent, timeout_s)
    if not answer.is_success:
        raise CommandFailed(f"HTTP {answer.status_code}: {_error_of(answer)}")
    way = {name: value for name, value in answer.headers.items() if name.startswith(_OWN_HEADERS)}
    result = {"response": answer.json(), "headers": way}
    show(output, result, lambda: _table(result))


def _post(url: str, content: bytes, headers: dict[str, str], timeout_s: float) -> httpx.Response:
    try:
        return httpx.post(url, content=content, headers=headers, timeout=timeout_s, trust_env=not is_local(url))
    except httpx.HTTPError as error:
        raise GatewayUnreachable(f"{url}: {error}") from None


def _read_data(data: str) -> bytes:
    """Take the request from the argument, from a file (`@name`) or from stdin (`-`)."""
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        with reported_failures():
            return Path(data[1:]).read_bytes()
    return data.encode()


def _error_of(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500]


def _table(result: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False)
    for output in result["response"].get("outputs", ()):
        shape = "x".join(map(str, output["shape"]))
        table.add_row(output["name"], f"{output['datatype']} {shape}", json.dumps(output.get("data")))
    for name, value in result["headers"].items():
        table.add_row(name, "", value, style="dim")
    return table
