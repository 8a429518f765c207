"""Laws of shared hosts: where guests live, and who goes cold."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from serving.deployment.hosting.eviction import Residence, ResidenceRules, leaving
from serving.deployment.hosting.placement import HostBounds, VersionKey, place

KEYS = st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 4))
GUESTS = st.dictionaries(KEYS, st.integers(0, 100), max_size=24)
BOUNDS = st.builds(HostBounds, max_guests=st.integers(1, 6), max_bytes=st.integers(1, 300))

LOADED = st.dictionaries(
    st.sampled_from("abcdefghijklmnop"),
    st.builds(Residence, last_used=st.integers(0, 1000).map(float), kept=st.booleans()),
)
RULES = st.builds(ResidenceRules, max_loaded=st.integers(1, 10), cold_after_s=st.integers(1, 500).map(float))


def by_host(placed: dict[VersionKey, int]) -> dict[int, list[VersionKey]]:
    hosts = defaultdict(list)
    for key, host in placed.items():
        hosts[host].append(key)
    return hosts


@given(GUESTS, BOUNDS)
def test_every_guest_has_one_host_and_no_host_holds_more_than_it_may(
    guests: dict[VersionKey, int], bounds: HostBounds
) -> None:
    """By count, and by bytes unless the guest is alone."""
    placed = place(guests, {}, bounds)

    assert placed.keys() == guests.keys()
    for keys in by_host(placed).values():
        assert len(keys) <= bounds.max_guests
        assert len(keys) == 1 or sum(guests[key] for key in keys) <= bounds.max_bytes


@given(GUESTS, BOUNDS)
def test_versions_of_one_model_never_share(guests: dict[VersionKey, int], bounds: HostBounds) -> None:
    """A canary that takes its host down leaves the stable version standing."""
    for keys in by_host(place(guests, {}, bounds)).values():
        assert max(Counter(model for model, _ in keys).values()) == 1


@given(GUESTS, GUESTS, BOUNDS)
def test_who_lives_somewhere_stays_there(
    before: dict[VersionKey, int], after: dict[VersionKey, int], bounds: HostBounds
) -> None:
    """Whoever else comes or goes; and to place again changes nothing."""
    sizes = before | after
    first = place(before, {}, bounds)
    second = place({key: sizes[key] for key in after}, first, bounds)

    assert all(second[key] == first[key] for key in before.keys() & after.keys())
    assert place({key: sizes[key] for key in after}, second, bounds) == second


@given(GUESTS, BOUNDS)
def test_no_host_is_opened_while_another_has_room(guests: dict[VersionKey, int], bounds: HostBounds) -> None:
    """Hosts are numbered from 1 without a gap, and nobody in the last would have fitted into the first."""
    hosts = by_host(place(guests, {}, bounds))

    assert sorted(hosts) == list(range(1, len(hosts) + 1))
    for number, keys in hosts.items():
        for model, _ in keys:
            for lower in range(1, number):
                size = sum(guests[key] for key in hosts[lower])
                is_full = len(hosts[lower]) >= bounds.max_guests
                has_sibling = any(other == model for other, _ in hosts[lower])
                smallest = min(guests[key] for key in keys if key[0] == model)
                assert is_full or has_sibling or size + smallest > bounds.max_bytes


@given(LOADED, RULES, st.integers(0, 3))
def test_after_who_leaves_the_bound_holds_as_far_as_guests_may_leave(
    loaded: dict[str, Residence], rules: ResidenceRules, room_for: int
) -> None:
    """Kept ones stay, whatever the bound; nobody else leaves for its sake than has to."""
    leavers = leaving(loaded, rules, 1000.0, room_for=room_for)
    kept = sum(each.kept for each in loaded.values())

    assert not any(loaded[name].kept for name in leavers)
    assert len(loaded) - len(leavers) + room_for <= max(rules.max_loaded, kept + room_for)
    if "bound" in leavers.values():
        assert len(loaded) - len(leavers) + room_for >= rules.max_loaded


@given(LOADED, RULES)
def test_nobody_stays_who_was_used_before_somebody_who_leaves(
    loaded: dict[str, Residence], rules: ResidenceRules
) -> None:
    """Least recently used first, kept ones aside."""
    leavers = leaving(loaded, rules, 1000.0)
    stayers = [each.last_used for name, each in loaded.items() if name not in leavers and not each.kept]

    assert all(loaded[name].last_used <= min(stayers, default=1e9) for name in leavers)


@given(LOADED, RULES)
def test_idle_guests_leave_and_used_ones_only_for_want_of_room(
    loaded: dict[str, Residence], rules: ResidenceRules
) -> None:
    """The reason is told rightly."""
    leavers = leaving(loaded, rules, 1000.0)

    for name, each in loaded.items():
        is_idle = 1000.0 - each.last_used >= rules.cold_after_s
        assert leavers.get(name) == "idle" if is_idle and not each.kept else leavers.get(name) != "idle"
