"""`shepherd.v1.Feedback`: labels come back over gRPC, under the checks that they meet over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import Message

from router.access.scope import Action
from router.gateway.feedback import Labels
from router.gateway.grpc.rpc.query import Asked, Query
from router.gateway.names import read_version
from router.requestlog.label import read_entries
from serving.protocol.errors import invalid
from serving.protocol.pb import feedback_pb2 as pb

SERVICE: Final = "shepherd.v1.Feedback"


class FeedbackMethods:
    """Its one method."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def table(self) -> dict[str, Query]:
        """List the methods by name, each with what its caller must be allowed to do."""
        return {"Post": Query(pb.PostRequest, Action.FEEDBACK, self.post, "model_name")}

    async def post(self, asked: Asked) -> Message:
        """Take one label or several.

        Raises:
            ServingError: as over HTTP; INVALID when nothing was accepted.
        """
        request = asked.request
        taken = await self._labels.take(
            request.model_name, read_version(request.model_version), lambda: read_entries(_entries(request.labels))
        )
        if taken.error:
            raise invalid(taken.error)
        errors = [pb.LabelError(index=each.index, field=each.field, error=each.error) for each in taken.shown]
        return pb.PostResponse(accepted=taken.accepted, rejected=len(taken.mistakes), errors=errors)


def _entries(labels: Iterable[Any]) -> list[dict[str, Any]]:
    """Say messages as the documents that HTTP clients send."""
    entries = []
    for label in labels:
        values = [getattr(value, value.WhichOneof("kind") or "", None) for value in label.values]
        entry: dict[str, Any] = {"request_id": label.request_id}
        if values:
            entry["label"] = values if len(values) > 1 else values[0]
        if label.HasField("outcome"):
            entry["outcome"] = label.outcome
        entries.append(entry)
    return entries
