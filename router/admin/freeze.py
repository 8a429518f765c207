"""A version that was taken back for failing hard gets no traffic again in a hurry, whatever a script says."""

from __future__ import annotations

from router.admin.problems import Problem
from router.admin.services import Services
from router.policy.document import Policy
from router.policy.exposure import freeze_of, newly_shared


async def require_thawed(ports: Services, before: Policy | None, after: Policy, *, force: bool) -> None:
    """Refuse a policy that gives a share to what the hard-failure watch has just taken back.

    Raises:
        Problem: 409, with the time (Unix seconds) until which that is so.
    """
    gaining = set(newly_shared(before, after))
    if force or not gaining or before is None:
        return
    freeze = freeze_of(await ports.store.revisions(after.model), ports.cool_down_s)
    frozen, now = gaining & freeze.versions, ports.clock()
    if frozen and now < freeze.until:
        numbers = ", ".join(map(str, sorted(frozen)))
        raise Problem(
            "conflict",
            f"{after.model} version {numbers} was rolled back for hard failures and gets no share for another"
            f" {freeze.until - now:.0f} s; `force` overrides this",
            frozen_until=freeze.until,
        )
