"""The gateway's own actors: what the audit log calls whoever writes without an operator's word. Pure."""

from __future__ import annotations

from typing import Final

#: Before a rollout's id.
ROLLOUT_PREFIX: Final = "rollout:"
#: Rolls back on incidents.
MONITOR: Final = "monitor"
#: Takes traffic from versions that fail hard.
HARD_FAILURE_WATCH: Final = "hard-failure watch"
#: Follows aliases that have moved.
REGISTRY: Final = "registry"
#: Rolls out versions that were trained for an incident.
RETRAINING: Final = "retraining"
#: Whose token is the gateway's first.
ADMIN: Final = "admin"

_OWN: Final = frozenset({MONITOR, HARD_FAILURE_WATCH, REGISTRY, RETRAINING, ADMIN})


def is_own(name: str) -> bool:
    """Tell whether a name is the gateway's: nobody else may write under it."""
    return name in _OWN or name.startswith(ROLLOUT_PREFIX)


def is_exempt_from_trial(actor: str) -> bool:
    """Tell whether an actor's writes are no trial: rollouts watch their own versions, the others only lead back."""
    return actor in {MONITOR, HARD_FAILURE_WATCH} or actor.startswith(ROLLOUT_PREFIX)
