"""Which versions share a process."""

from __future__ import annotations

import pytest

from serving.deployment.hosting.sharing import SharingRules, why_own
from serving.protocol.errors import ServingError
from serving.registry.options import parse_options

OWN, AUTO = SharingRules(), SharingRules(default="auto", auto_max_bytes=1000)


def verdict(rules: SharingRules, tags: dict[str, str] | None = None, *, model_bytes: int = 10) -> str | None:
    options = parse_options({f"shepherd.{name}": value for name, value in (tags or {}).items()})
    return why_own(options, model_bytes, rules)


def test_by_default_every_version_has_a_process_of_its_own() -> None:
    """A crash takes nobody else with it, unless somebody has chosen otherwise."""
    assert verdict(OWN) is not None


def test_a_version_or_its_gateway_may_choose_to_share() -> None:
    """The version's tag goes before the gateway's setting."""
    assert verdict(OWN, {"host": "shared"}) is None
    assert verdict(OWN, {"host": "auto"}) is None
    assert verdict(AUTO) is None
    assert verdict(AUTO, {"host": "own"}) is not None


@pytest.mark.parametrize(
    "tags",
    [
        {"backend": "echo"},
        {"max_replicas": "2"},
        {"threads": "4"},
        {"gpu_share": "0.5"},
        {"provider": "cuda"},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_auto_shares_only_what_runs_on_one_core_of_the_cpu(tags: dict[str, str]) -> None:
    """Each obstacle by itself."""
    assert verdict(AUTO, tags) is not None


def test_auto_shares_only_what_is_small() -> None:
    """The limit itself still counts as small."""
    assert verdict(AUTO, model_bytes=1000) is None
    assert "1001 bytes" in (verdict(AUTO, model_bytes=1001) or "")


@pytest.mark.parametrize(
    ("tag", "value"), [("max_replicas", "2"), ("gpu_share", "0.5"), ("backend", "triton")], ids=["count", "gpu", "away"]
)
def test_a_version_that_asks_to_share_and_for_what_sharing_cannot_give_is_refused(tag: str, value: str) -> None:
    """The message names both tags."""
    with pytest.raises(ServingError) as refused:
        parse_options({"shepherd.host": "shared", f"shepherd.{tag}": value})
    assert "'shepherd.host'" in refused.value.message
    assert f"'shepherd.{tag}'" in refused.value.message


def test_an_unknown_choice_is_refused() -> None:
    """With what is valid."""
    with pytest.raises(ServingError, match=r"shepherd\.host"):
        parse_options({"shepherd.host": "sometimes"})
