"""docs/policy.md: every example is a document that the gateway takes, and the defaults are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from router.policy.document import ShadowRule, parse_policy
from router.policy.plan import KINDS, LabelMetric, Plan, Prediction, ShadowAgreement, ShadowStage, parse_plan

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
POLICIES = [example for example in EXAMPLES if "model" in example]
PLANS = [example for example in EXAMPLES if "model" not in example]


@pytest.mark.parametrize("document", POLICIES, ids=lambda document: document["model"])
def test_every_policy_on_the_page_is_accepted(document: dict[str, Any]) -> None:
    """As it stands there."""
    assert parse_policy(document).model == document["model"]


def test_the_page_shows_the_default_plan() -> None:
    """All fields of it, so that nobody has to look a default up in the code."""
    shown = next(plan for plan in PLANS if "steps" in plan)

    assert parse_plan(shown) == Plan()
    assert set(shown) == set(Plan.__struct_fields__)


def test_the_page_shows_the_default_shadow_stage() -> None:
    """All fields of it."""
    shown = next(plan for plan in PLANS if "steps" not in plan)

    assert parse_plan(shown).shadow == ShadowStage()
    assert set(shown["shadow"]) == set(ShadowStage.__struct_fields__)


@pytest.mark.parametrize("check", [ShadowAgreement(), Prediction(), LabelMetric()], ids=lambda check: check.kind)
def test_the_page_shows_the_defaults_of_the_other_checks(check: Any) -> None:
    """Beside those that every check has."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{check.kind}`"))
    own = {name: getattr(check, name) for name in check.__struct_fields__ if name not in {"alpha", "dry_run"}}

    assert all(f"`{name}: {value}`" in row for name, value in own.items())
    assert (check.alpha, check.dry_run) == (0.05, False)


def test_every_check_and_every_field_of_a_shadow_is_on_the_page() -> None:
    """A field that is added is described."""
    assert all(f"| `{kind}` |" in PAGE for kind in KINDS)
    defaults = {field.name: field.default for field in msgspec.structs.fields(ShadowRule) if field.name != "version"}
    assert all(f"| `{name}` | {value} |" in PAGE for name, value in defaults.items())
