"""What a client is told of an exception: ours as it is, and of one that nobody has foreseen only where to look."""

from __future__ import annotations

import logging

from router.gateway.dispatch.call import Call
from serving.protocol.errors import ErrorKind, ServingError

_log = logging.getLogger(__name__)


def as_answer(call: Call, error: BaseException) -> ServingError:
    """Return an error that can be answered; one that is no `ServingError` is logged and becomes INTERNAL."""
    if isinstance(error, ServingError):
        return error
    _log.error("Cannot answer %s", call.id, exc_info=error)
    return ServingError(ErrorKind.INTERNAL, f"the gateway failed to answer; its log knows more of request {call.id}")
