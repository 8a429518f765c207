"""A version gets traffic only when it is ready: bring up all that a policy names, or refuse the policy."""

from __future__ import annotations

import asyncio

from router.admin.problems import Problem
from router.admin.representations import show_version
from router.policy.document import Policy, versions_of
from router.ports import VersionManager, VersionStatus, VersionUnready
from serving.protocol.errors import ErrorKind, ServingError


async def require_ready(versions: VersionManager, policy: Policy, timeout_s: float) -> list[VersionStatus]:
    """Make every version of a policy ready, variants and shadows alike, all at the same time.

    Each attempt runs to its end even when another has failed, so that the answer names everything that is wrong.

    Raises:
        Problem: 404, the registry lacks a version; 409, one failed to load or did not in time.
    """
    attempts = (versions.ensure_ready(policy.model, version, timeout_s=timeout_s) for version in versions_of(policy))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    ready: list[VersionStatus] = []
    unready: list[VersionStatus] = []
    for outcome in outcomes:
        if isinstance(outcome, VersionUnready):
            unready.append(outcome.status)
        elif isinstance(outcome, ServingError) and outcome.kind is ErrorKind.NOT_FOUND:
            raise Problem("not-found", f"{outcome.message}; no policy was changed")
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            ready.append(outcome)
    if unready:
        reasons = "; ".join(f"version {status.version} is {status.state}: {status.reason}" for status in unready)
        raise Problem(
            "version-unready",
            f"{policy.model}: {reasons}. No policy was changed",
            versions=[show_version(status) for status in unready],
        )
    return ready


async def require_known(versions: VersionManager, policy: Policy) -> None:
    """Check that the registry has every version of a policy, without loading any.

    Raises:
        Problem: 404, naming the first that it lacks.
    """
    known = {(status.model, status.version) for status in await versions.versions()}
    for version in versions_of(policy):
        if (policy.model, version) not in known:
            raise Problem("not-found", f"{policy.model}: the registry has no version {version}; no policy was changed")
