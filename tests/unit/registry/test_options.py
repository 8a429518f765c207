"""A version's tags are its serving options; a mistake in one is named, never ignored."""

from __future__ import annotations

import math

import pytest

from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.options import ServingOptions, parse_options

ECHO = {"shepherd.backend": "echo"}


def test_a_version_without_tags_has_the_defaults() -> None:
    """One replica, one thread, onnxruntime."""
    assert parse_options({}) == ServingOptions()


def test_options_are_read_from_tags_of_their_name() -> None:
    """Text becomes the type of the option."""
    options = parse_options(
        {
            "shepherd.min_replicas": "0",
            "shepherd.max_replicas": "4",
            "shepherd.gpu_share": "0.5",
            "shepherd.golden_rtol": "inf",
        }
    )

    assert (options.min_replicas, options.max_replicas, options.gpu_share) == (0, 4, 0.5)
    assert math.isinf(options.golden_rtol)


def test_tags_of_others_and_tags_that_we_record_are_no_options() -> None:
    """Only the prefix `shepherd.` is ours."""
    assert parse_options({"team": "rail", "shepherd.sha256": "00", "shepherd.golden": "given"}) == ServingOptions()


def test_settings_of_the_backend_are_read_as_text_or_json() -> None:
    """`shepherd.<backend>.<setting>`; lists and objects are JSON."""
    options = parse_options(
        {
            "shepherd.backend": "echo",
            "shepherd.echo.delay_ms": "5",
            "shepherd.echo.inputs": '[{"name": "x", "datatype": "FP32", "shape": [-1]}]',
        }
    )

    assert options.settings == {
        "delay_ms": "5",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    }


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"shepherd.thread": "2"}, "tag 'shepherd.thread' is unknown; did you mean 'shepherd.threads'?"),
        ({"shepherd.threads": "two"}, "tag 'shepherd.threads' is 'two': Expected `int` or `auto`"),
        ({"shepherd.threads": "-1"}, "tag 'shepherd.threads' is '-1': Expected `int` >= 0"),
        ({"shepherd.gpu_share": "1.5"}, "tag 'shepherd.gpu_share' is '1.5'"),
        ({"shepherd.golden_rtol": "nan"}, "tag 'shepherd.golden_rtol' is 'nan'"),
        ({"shepherd.min_replicas": "3"}, "tag 'shepherd.max_replicas': 1 is below shepherd.min_replicas (3)"),
        ({"shepherd.echo.delay_ms": "5"}, "for backend 'echo', but the version's backend is 'onnx'"),
        (ECHO | {"shepherd.echo.inputs": "[1"}, "tag 'shepherd.echo.inputs' is no valid JSON"),
        (ECHO | {"shepherd.echo.inputs": "[" * 100_000}, "tag 'shepherd.echo.inputs' is no valid JSON"),
        ({"shepherd.threads": "1000000000"}, "tag 'shepherd.threads' is '1000000000': Expected `int` <= 1024"),
        ({"shepherd.max_replicas": "1000000"}, "tag 'shepherd.max_replicas' is '1000000': Expected `int` <= 1024"),
        ({"shepherd.max_batch": "999999999999"}, "tag 'shepherd.max_batch'"),
        ({"shepherd.gpu_mem_limit_bytes": "9" * 400}, "tag 'shepherd.gpu_mem_limit_bytes'"),
        ({"shepherd.backend.__class__": "x"}, "is for backend 'backend'"),
        ({"shepherd.../../etc": "x"}, "tag 'shepherd.../../etc'"),
        ({"shepherd.": "x"}, "tag 'shepherd.' is unknown"),
    ],
)
def test_a_wrong_tag_is_named_with_what_is_wrong(tags: dict[str, str], reason: str) -> None:
    """An operator mends it without reading code."""
    with pytest.raises(ServingError) as caught:
        parse_options(tags)

    assert caught.value.kind is ErrorKind.INVALID
    assert reason in caught.value.message


@pytest.mark.parametrize("setting", ["threads", "provider", "gpu_mem_limit_bytes", "bogus"])
def test_no_tag_sets_the_onnx_backend_past_the_checked_options(setting: str) -> None:
    """`shepherd.threads` has bounds and decides who may share a process; `shepherd.onnx.threads` would have neither."""
    with pytest.raises(
        ServingError, match=rf"tag 'shepherd.onnx.{setting}' is unknown: backend 'onnx' has no settings"
    ):
        parse_options({f"shepherd.onnx.{setting}": "500"})
