"""Who holds a version, and until when."""

from __future__ import annotations

from typing import Any

from router.control.version_holders import VersionHolders
from router.policy.document import parse_policy
from router.ports import PolicySnapshot, StoredPolicy


def policies(**models: dict[str, Any]) -> PolicySnapshot:
    documents = {model: parse_policy({"model": model, **document}) for model, document in models.items()}
    return PolicySnapshot(1, {model: StoredPolicy(each, 1, "test", "", 0.0) for model, each in documents.items()})


ALONE = {"variants": [{"name": "stable", "version": 1, "weight": 10_000}]}
COMPARED = {
    "variants": [{"name": "stable", "version": 1, "weight": 9000}, {"name": "canary", "version": 2, "weight": 1000}],
    "shadows": [{"version": 3, "sample": 10_000}],
}


def test_every_variant_and_shadow_that_names_a_version_holds_it() -> None:
    """And so does a rollback that would need it, until somebody wishes it away."""
    wishes = VersionHolders()
    wishes.follow(policies(m=COMPARED))
    wishes.keep(frozenset({("m", 1), ("m", 9)}))
    assert [wishes.holders(("m", version)) for version in (1, 2, 3, 4, 9)] == [
        ("variant", "standby"),
        ("variant",),
        ("shadow",),
        (),
        ("standby",),
    ]
    wishes.drop(("m", 9))
    assert wishes.holders(("m", 9)) == ()
    wishes.recall(("m", 9))
    assert wishes.holders(("m", 9)) == ("standby",)


def test_versions_are_compared_where_a_policy_names_more_than_one() -> None:
    """Shadows included; the only version of a policy is compared with nobody."""
    wishes = VersionHolders()
    wishes.follow(policies(alone=ALONE, compared=COMPARED))
    assert wishes.compared == {("compared", 1), ("compared", 2), ("compared", 3)}


def test_before_the_policies_are_read_nobody_is_known_to_be_unwanted() -> None:
    """A successor must not stop what it has not heard of."""
    wishes = VersionHolders()
    assert not wishes.known
    wishes.follow(policies())
    assert wishes.known
    assert not wishes.is_named(("alone", 1))
