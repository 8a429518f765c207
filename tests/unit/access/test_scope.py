"""What operators may write as a scope."""

from __future__ import annotations

import pytest

from router.access.scope import ORDINARY, Action, Scope, matches, read_scope
from serving.protocol.errors import ErrorKind, ServingError


def test_without_actions_a_key_is_for_ordinary_clients() -> None:
    """Loading, unloading and settings are given by name only."""
    assert read_scope(["fraud"]).actions == ORDINARY == {Action.INFER, Action.METADATA, Action.FEEDBACK}


@pytest.mark.parametrize(
    ("models", "actions", "field"),
    [
        ([], None, "models"),
        (["fraud"] * 101, None, "models"),
        ([""], None, "models"),
        (["fraud/../x"], None, "models"),
        (["fraud?"], None, "models"),
        (["x" * 129], None, "models"),
        (["fraud"], [], "actions"),
        (["fraud"], ["infer", "everything"], "actions"),
    ],
)
def test_mistakes_are_named_by_their_field(models: list[str], actions: list[str] | None, field: str) -> None:
    """Before the key is made."""
    with pytest.raises(ServingError) as refused:
        read_scope(models, actions)
    assert refused.value.kind is ErrorKind.INVALID
    assert refused.value.message.startswith(f"{field}: ")


def test_questions_about_the_server_take_no_model_and_changes_take_all() -> None:
    """Who may read about one model may read what the server is; its settings are everybody's."""
    one = Scope(("fraud",), frozenset({Action.METADATA, Action.SETTINGS}))

    assert one.allows(Action.METADATA, "")
    assert not one.allows(Action.SETTINGS, "")
    assert one.allows(Action.SETTINGS, "fraud")
    assert Scope(("*",), frozenset({Action.SETTINGS})).allows(Action.SETTINGS, "")


def test_no_pattern_makes_a_name_expensive() -> None:
    """Sixty stars that almost match: who backtracks does not come back from this."""
    assert not matches("*".join(["a"] * 60) + "*b", "a" * 128)
