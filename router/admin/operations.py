"""Every operation of the admin API with the role it takes: what is not in this table is denied. Pure.

Rights hang on the operation that the framework resolved, not on the path that the client wrote, so no spelling of a
path (case, `//`, `%2f`, a trailing dot) can reach an operation under the rights of another.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

_MIB: Final = 1024 * 1024


class Role(enum.IntEnum):
    """What a token may do; each role includes the ones below it."""

    VIEWER = 1
    """Read everything."""
    OPERATOR = 2
    """Also move traffic; register, load and unload versions."""
    ADMIN = 3
    """Also remove what cannot be brought back by one more write."""


class Caller(msgspec.Struct, frozen=True):
    """Somebody who presented a valid token; the name is the actor of the audit log."""

    name: str
    role: Role


class Operation(msgspec.Struct, frozen=True):
    """What an operation takes of its caller."""

    role: Role | None
    """None: open to everybody who reaches the port; only what tells nothing about this gateway."""
    max_body_bytes: int = 1 * _MIB
    is_secret: bool = False
    """The answer holds what nobody but the caller may see, so it is not kept for an idempotency key."""


#: By the name of the function that serves it.
OPERATIONS: Final[dict[str, Operation]] = {
    "list_policies": Operation(Role.VIEWER),
    "get_policy": Operation(Role.VIEWER),
    "put_policy": Operation(Role.OPERATOR),
    "patch_policy": Operation(Role.OPERATOR),
    "delete_policy": Operation(Role.ADMIN),
    "list_revisions": Operation(Role.VIEWER),
    "explain_decision": Operation(Role.VIEWER),
    "rollback_policy": Operation(Role.OPERATOR),
    "undo_policy": Operation(Role.OPERATOR),
    "change_policies": Operation(Role.OPERATOR, max_body_bytes=16 * _MIB),
    "list_rollouts": Operation(Role.VIEWER),
    "get_rollout": Operation(Role.VIEWER),
    "list_rollout_history": Operation(Role.VIEWER),
    "start_rollout": Operation(Role.OPERATOR),
    "pause_rollout": Operation(Role.OPERATOR),
    "resume_rollout": Operation(Role.OPERATOR),
    "promote_rollout": Operation(Role.OPERATOR),
    "abort_rollout": Operation(Role.OPERATOR),
    "list_tokens": Operation(Role.ADMIN),
    "add_token": Operation(Role.ADMIN, is_secret=True),
    "remove_token": Operation(Role.ADMIN),
    "list_keys": Operation(Role.ADMIN),
    "create_key": Operation(Role.ADMIN, is_secret=True),
    "revoke_key": Operation(Role.ADMIN),
    "list_models": Operation(Role.VIEWER),
    "get_model": Operation(Role.VIEWER),
    "get_version": Operation(Role.VIEWER),
    "load_model": Operation(Role.OPERATOR),
    "load_version": Operation(Role.OPERATOR),
    "unload_model": Operation(Role.OPERATOR),
    "unload_version": Operation(Role.OPERATOR),
    "get_shadow": Operation(Role.VIEWER),
    "get_experiment": Operation(Role.VIEWER),
    # base64 of an ONNX file of 1.5 GiB; a protobuf cannot exceed 2 GiB
    "register_version": Operation(Role.OPERATOR, max_body_bytes=2048 * _MIB),
    "get_log": Operation(Role.VIEWER),
    "get_status": Operation(Role.VIEWER),
    "list_audit": Operation(Role.VIEWER),
    "get_drift": Operation(Role.VIEWER),
    "get_performance": Operation(Role.VIEWER),
    "list_incidents": Operation(Role.VIEWER),
    "hold_rollbacks": Operation(Role.OPERATOR),
    "page": Operation(None),
    "page_asset": Operation(None),
    "docs": Operation(None),
    "openapi": Operation(None),
}
