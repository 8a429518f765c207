"""The reference of each version: the profile that came with it, else one that is made of its first answers. Pure.

A version's own reference is made of whole slots of time, the earliest first, once they are complete: so it is the same
however the answers came in. What is left over is counted against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Final

from router.drift.binning import Binner
from router.drift.profile import Profile, decode_profile
from router.monitor.reference import MAX_GATHERED_BYTES, misfit, rows_of, self_reference
from router.monitor.state import Sample, Stranger, Version, VersionState

Attached = Callable[[str, int], bytes | None]
"""Gives the profile that came with a version; asked once for each version, and again while it has none."""
#: Bytes of answers of a version without a reference that are held at once; more are not counted at all.
MAX_HELD_BYTES: Final = 4 * MAX_GATHERED_BYTES


class References:
    """What each version is held against."""

    def __init__(self, attached: Attached, enough_rows: int) -> None:
        self._attached = attached
        self._enough_rows = enough_rows
        self.binners: dict[Version, Binner] = {}

    def of(self, version: Version) -> Binner | None:
        """Return the reference of a version; None where there is none yet."""
        return self.binners.get(version)

    def meet(self, version: Version, state: VersionState, strangers: Sequence[Stranger]) -> Binner | None:
        """Take the answers of a version that has no reference yet; return the reference if it has one now."""
        if state.sample is None:
            state.sample = strangers[0].sample
            profile = self._fitting(version, state, state.sample)
            if profile is not None:
                return self.adopt(version, profile)
        for each in strangers:
            if state.gathered_bytes < MAX_HELD_BYTES:
                state.gathered.append(each)
                state.gathered_rows += rows_of(each.sample)
                state.gathered_bytes += len(each.sample.inputs) + len(each.sample.outputs)
        return None

    def settle(self, version: Version, state: VersionState, open_from: int) -> list[Stranger] | None:
        """Make a reference of the answers gathered so far, if those of complete slots suffice.

        Args:
            version: which.
            state: with what was gathered; emptied when the reference is made.
            open_from: the first slot that may still get answers.

        Returns:
            The answers that are left to be counted against the reference; None when it was not made.
        """
        if state.gathered_rows < self._enough_rows and state.gathered_bytes < MAX_GATHERED_BYTES:
            return None
        used = self._first_slots(state.gathered, open_from)
        if used is None:
            return None
        rest = [each for each in state.gathered if each.sample.slot > used[-1].slot]
        state.forget_gathered()
        made = self_reference(used)
        if made is None:
            return None
        self.adopt(version, made)
        return rest

    def renew(self, version: Version, state: VersionState) -> bool:
        """Ask again for the profile of a version that has none of its own; return whether it came."""
        binner = self.binners.get(version)
        if state.refused or state.sample is None or (binner is not None and not binner.profile.self_referenced):
            return False
        profile = self._fitting(version, state, state.sample)
        if profile is None:
            return False
        state.forget_gathered()
        self.adopt(version, profile)
        return True

    def adopt(self, version: Version, profile: Profile) -> Binner:
        """Hold a version against a profile from now on."""
        self.binners[version] = Binner(profile)
        return self.binners[version]

    def _first_slots(self, gathered: Iterable[Stranger], open_from: int) -> list[Sample] | None:
        """Return the answers of the first slots that make a reference, in an order that does not depend on readers."""
        rows = size = 0
        used: list[Sample] = []
        closed = (each.sample for each in gathered if each.sample.slot < open_from)
        for sample in sorted(closed, key=attrgetter("slot", "lot", "request_id")):
            if used and sample.slot != used[-1].slot and (rows >= self._enough_rows or size >= MAX_GATHERED_BYTES):
                return used
            used.append(sample)
            rows += rows_of(sample)
            size += len(sample.inputs) + len(sample.outputs)
        return used if rows >= self._enough_rows or size >= MAX_GATHERED_BYTES else None

    def _fitting(self, version: Version, state: VersionState, sample: Sample) -> Profile | None:
        document = self._attached(*version)
        if document is None:
            return None
        try:
            profile = decode_profile(document)
            state.refused = misfit(profile, sample)
        except ValueError as error:
            state.refused = str(error)
        return None if state.refused else profile
