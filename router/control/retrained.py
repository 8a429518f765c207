"""Closes the loop: a version that was trained for an incident enters by itself, as a shadow first, then by a rollout.

Whoever retrains registers the new version with the tag `shepherd.incident`, whose value came with the request. From
then on everything is a rollout like any other, under its own actor and with the incident's id. Each version is tried
once: one whose rollout did not succeed waits for somebody, or for the next training.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from router.cancellation import end_if_cancelled
from router.monitor.incident import Incident
from router.policy.actors import RETRAINING
from router.policy.document import Policy
from router.policy.exposure import shares
from router.policy.plan import Plan, ShadowStage
from router.ports import PolicyStore, StoredPolicy, StoreUnavailable
from router.rollout.operator_acts import frozen_until
from router.rollout.rollout import Rollout, begin
from router.rollout_ports import Note, RolloutConflict, RolloutStore
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import VersionInfo
from serving.registry.options import INCIDENT_TAG

#: Incidents that are looked back at.
_RECENT: Final = 1000
_log = logging.getLogger(__name__)


class Incidents(Protocol):
    """What the monitor has told of."""

    async def incidents(self, limit: int, model: str | None = None) -> Sequence[Incident]:
        """List incidents as they stand, the youngest first; may raise `StoreUnavailable`."""


class Listing(Protocol):
    """The part of the catalogue that lists."""

    async def versions_of(self, model: str) -> Sequence[VersionInfo]:
        """List the versions of a model; may raise `ServingError`."""


class Retrained:
    """Looks every `poll_s` for versions that answer an incident. Holds nothing that is not read again."""

    def __init__(
        self,
        policies: PolicyStore,
        rollouts: RolloutStore,
        incidents: Incidents,
        listing: Listing,
        *,
        begun: Callable[[], None],
        poll_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policies = policies
        self._rollouts = rollouts
        self._incidents = incidents
        self._listing = listing
        self._begun = begun
        self._poll_s = poll_s
        self._clock = clock
        self._said: dict[str, str] = {}
        """By model, what was said last."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            end_if_cancelled()
            try:
                await self.turn()
            except (StoreUnavailable, ServingError) as error:
                _log.warning("Retrained versions are not looked for: %s", error)
            except Exception:  # noqa: BLE001 - one that ends finds nothing
                _log.exception("Looking for retrained versions failed")
            await asyncio.sleep(self._poll_s)

    async def turn(self) -> None:
        """Look once, and begin the rollouts that are due."""
        by_model: defaultdict[str, dict[str, Incident]] = defaultdict(dict)
        for incident in await self._incidents.incidents(_RECENT):
            by_model[incident.model][incident.id] = incident
        for model, incidents in by_model.items():
            stored = await self._policies.get(model)
            if stored is None:
                continue
            try:
                found = newest_answer(await self._listing.versions_of(model), incidents)
            except ServingError as error:
                if error.kind is ErrorKind.UNAVAILABLE:
                    raise  # it is the same for all
                self._say(model, f"its versions cannot be listed: {error}")
                continue
            if found is not None:
                await self._enter(stored, found)

    async def _enter(self, stored: StoredPolicy, info: VersionInfo) -> None:
        model, version, now = info.model, info.version, self._clock()
        last = await self._rollouts.get(model)
        tried = [*await self._rollouts.history(model), *([last] if last else [])]
        if version in shares(stored.policy) or any(each.version == version for each in tried):
            return
        if (last is not None and not last.is_over) or now < frozen_until(last):
            self._say(model, f"version {version}, retrained for incident {info.tags[INCIDENT_TAG]}, waits its turn")
            return
        try:
            rollout = self._rollout(stored, info, now)
            await self._rollouts.put(rollout, note=Note("rollout.start", RETRAINING, rollout.reason), at=now)
        except RolloutConflict:
            return  # looked at anew by the next turn
        except ServingError as error:
            self._say(model, f"version {version} cannot be rolled out: {error}")
        else:
            self._begun()

    @staticmethod
    def _rollout(stored: StoredPolicy, info: VersionInfo, now: float) -> Rollout:
        incident = info.tags[INCIDENT_TAG]
        return begin(
            id=f"r{uuid.uuid4().hex[:12]}",
            version=info.version,
            plan=plan_for(stored.policy),
            policy=stored.policy,
            policy_revision=stored.revision,
            actor=RETRAINING,
            reason=f"retrained for incident {incident}",
            now=now,
            incident=incident,
        )

    def _say(self, model: str, words: str) -> None:
        if self._said.get(model) != words:
            self._said[model] = words
            _log.warning("%s: %s", model, words)


def newest_answer(versions: Sequence[VersionInfo], incidents: Mapping[str, Incident]) -> VersionInfo | None:
    """Find the newest version whose tag names one of the incidents; a tag that names another is nobody's answer."""
    answers = (info for info in versions if info.tags.get(INCIDENT_TAG) in incidents)
    return max(answers, key=lambda info: info.version, default=None)


def plan_for(policy: Policy) -> Plan:
    """Choose the plan: that of the heaviest variant if it has one, with a shadow before it in any case."""
    heaviest = max(policy.variants, key=lambda variant: variant.weight)
    plan = heaviest.plan or Plan()
    return plan if plan.shadow is not None else msgspec.structs.replace(plan, shadow=ShadowStage())
