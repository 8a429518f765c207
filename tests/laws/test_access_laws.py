"""Laws of scopes and keys: for all patterns and names, not for examples."""

from __future__ import annotations

import fnmatch

from hypothesis import example, given
from hypothesis import strategies as st

from router.access.key import ApiKey, KeyRejection, KeyRing, digest_of
from router.access.scope import EVERYTHING, Action, Scope, matches, read_scope

LETTERS = "ab.-_A9"
names = st.text(LETTERS, min_size=1, max_size=12)
patterns = st.text(LETTERS + "*", min_size=1, max_size=12)
scopes = st.builds(
    Scope,
    st.lists(patterns, min_size=1, max_size=4).map(tuple),
    st.sets(st.sampled_from(Action)).map(frozenset),
)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1, max_size=40)


@given(pattern=patterns, name=names)
@example(pattern="a*a", name="a")
@example(pattern="*a*b*a*", name="aba")
def test_a_pattern_means_what_a_shell_would_make_of_it(pattern: str, name: str) -> None:
    """The standard library's `fnmatch` agrees on every pattern of letters and stars."""
    assert matches(pattern, name) == fnmatch.fnmatchcase(name, pattern)


@given(name=names, other=names)
def test_a_name_without_stars_covers_itself_alone(name: str, other: str) -> None:
    """No prefix, no other case."""
    assert matches(name, other) == (name == other)


@given(scope=scopes, more=patterns, action=st.sampled_from(Action), model=names | st.just(""))
def test_a_wider_scope_allows_no_less(scope: Scope, more: str, action: Action, model: str) -> None:
    """Adding a pattern or an action takes nothing away."""
    wider = Scope((*scope.models, more), scope.actions | {Action.INFER})

    assert wider.allows(action, model) or not scope.allows(action, model)
    assert EVERYTHING.allows(action, model)


@given(scope=scopes, action=st.sampled_from(Action), model=names | st.just(""))
def test_nothing_is_allowed_that_was_not_given(scope: Scope, action: Action, model: str) -> None:
    """An action not in the scope is refused whatever the model; a model that no pattern fits, whatever the action."""
    if scope.allows(action, model):
        assert action in scope.actions
        assert model == "" or any(fnmatch.fnmatchcase(model, pattern) for pattern in scope.models)


@given(
    models=st.lists(patterns, min_size=1, max_size=4), actions=st.none() | st.sets(st.sampled_from(Action), min_size=1)
)
def test_what_operators_may_write_is_read_as_written(models: list[str], actions: set[Action] | None) -> None:
    """Patterns keep their order; a pattern that begins like no name is the one mistake left."""
    if all(pattern[0] not in ".-_" for pattern in models):
        scope = read_scope(models, sorted(actions) if actions else None)
        assert scope.models == tuple(models)
        assert actions is None or scope.actions == actions


@given(owned=st.sets(secrets, min_size=1, max_size=5), tried=secrets, now=st.floats(0, 1e10))
def test_a_key_is_found_by_its_own_secret_alone(owned: set[str], tried: str, now: float) -> None:
    """Every secret finds its key, and no other text finds any."""
    keys = {secret: ApiKey(f"k{number}", EVERYTHING, digest_of(secret), 0.0) for number, secret in enumerate(owned)}
    ring = KeyRing(keys.values())

    assert all(ring.find(secret, now) is key for secret, key in keys.items())
    assert (ring.find(tried, now) is KeyRejection.UNKNOWN) == (tried not in owned)


@given(expires_at=st.floats(1, 1e10), now=st.floats(0, 1e10))
def test_a_key_ends_at_its_time_and_not_before(expires_at: float, now: float) -> None:
    """From `expires_at` on it is expired, which is not the same as unknown."""
    key = ApiKey("k", EVERYTHING, digest_of("secret"), 0.0, expires_at)

    assert KeyRing([key]).find("secret", now) == (key if now < expires_at else KeyRejection.EXPIRED)
