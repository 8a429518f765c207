"""V1 `:predict` and MLflow's `/invocations` on the callback path: paths, and bodies read by the version that answers.

These formats leave datatypes to the server. So the decision comes first, and the signature of the version decided for
says how to read the body; the dispatcher, asked again with the same request, decides the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from router.access.scope import EVERYTHING, Action
from router.gateway.dispatch.call import Call
from router.gateway.http.wire import JSON_LINE, Answer, Wire, decision_lines, encode_error, match_infer
from router.gateway.names import NAME
from router.gateway.response import response_of
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.messages import Buffer, InferRequest, Limits
from serving.protocol.rows_codec import (
    Layout,
    parse_invocation,
    parse_v1,
    print_invocation,
    print_predictions,
    read_tensors,
)

if TYPE_CHECKING:
    from router.gateway.catalogue import Catalogue
    from router.gateway.dispatch.dispatcher import Dispatcher

MODEL_HEADER: Final = "x-shepherd-model"
_PREDICT: Final = re.compile(rb"/v1/models/([^/:]+)(?:/(versions|labels)/([^/:]+))?:predict/?")
_INVOCATIONS: Final = re.compile(rb"/invocations/?")
_MAX_PATH_BYTES: Final = 1024


class RowsWire:
    """One request; made for it, since it remembers the request's layout for the answer."""

    protocol = "http"
    framing_bytes = 0

    def __init__(self, doors: RowsRoutes, model: str = "", pinned: int | None = None, label: str = "") -> None:
        self._doors = doors
        self._model = model
        self._pinned = pinned
        self._label = label
        self._layout = Layout.ROWS

    def unwrap(self, body: Buffer, headers: dict[str, str]) -> tuple[Buffer, str]:
        """See `Wire`; the whole body is the message."""
        return body, headers.get("content-encoding", "")

    def decode(self, call: Call, body: Buffer, limits: Limits) -> int | None:
        """See `Wire`; a label is the name of a variant, and pins its version."""
        catalogue, dispatcher = self._doors.catalogue, self._doors.dispatcher
        parsed = parse_v1(body, limits) if self._model else parse_invocation(body, limits)
        self._layout = parsed.layout
        call.model = self._model or self._invoked(call)
        dispatcher.authorize(call)
        pinned = catalogue.variant_version(call.model, self._label) if self._label else self._pinned
        call.request = InferRequest((), parameters=parsed.parameters)
        version = dispatcher.decide(call, pinned).version
        signature = catalogue.signature(call.model, version)
        if signature is None:
            raise ServingError(
                ErrorKind.UNAVAILABLE, f'version {version} of model "{call.model}" has had no ready replica yet'
            )
        call.request = InferRequest(read_tensors(parsed, signature, limits), parameters=parsed.parameters)
        return pinned

    def encode(self, call: Call) -> Answer:
        """See `Wire`."""
        if call.error is None:
            print_outputs = print_predictions if self._model else print_invocation
            try:
                body = print_outputs(self._layout, response_of(call).outputs)
                return Answer(200, "OK", JSON_LINE + decision_lines(call), [body])
            except ServingError as error:
                call.error = error
        return encode_error(call.error, call)

    def _invoked(self, call: Call) -> str:
        """Choose the model of an invocation: the one named by a header, or the only one that the caller may ask."""
        named = call.headers.get(MODEL_HEADER)
        if named:
            return named
        scope = call.caller.scope if call.caller else EVERYTHING
        models = [model for model in self._doors.catalogue.models() if scope.allows(Action.INFER, model)]
        if len(models) != 1:
            known = ", ".join(models) or "none"
            raise invalid(f"/invocations names no model: send the header {MODEL_HEADER}; models are {known}")
        return models[0]


class RowsRoutes:
    """Recognises the paths."""

    def __init__(self, catalogue: Catalogue, dispatcher: Dispatcher) -> None:
        self.catalogue = catalogue
        self.dispatcher = dispatcher

    def match(self, url: bytes) -> Wire | None:
        """Match any inference over HTTP, V2 first: it is what must be quick."""
        return match_infer(url) or self._match_rows(url)

    def _match_rows(self, url: bytes) -> RowsWire | None:
        """Read `/v1/models/{m}[/versions/{v}|/labels/{l}]:predict` or `/invocations`; None for any other path."""
        path = url if b"?" not in url else url[: url.index(b"?")]
        if len(path) > _MAX_PATH_BYTES:
            return None
        if _INVOCATIONS.fullmatch(path):
            return RowsWire(self)
        match = _PREDICT.fullmatch(path)
        if match is None:
            return None
        model = unquote_to_bytes(match[1]).decode("utf-8", "replace")
        kind, which = match[2], match[3]
        if not NAME.fullmatch(model) or (kind == b"versions" and not (which.isdigit() and len(which) < 10)):
            return None
        if kind == b"labels":
            return RowsWire(self, model, label=unquote_to_bytes(which).decode("utf-8", "replace"))
        return RowsWire(self, model, int(which) if kind else None)
