"""A small client of the admin API, for the command line and for programs that drive a gateway."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from router.settings import is_loopback

_PROBLEM = "application/problem+json"


class GatewayUnreachable(Exception):
    """No gateway answers at the address."""


class GatewayRefusal(Exception):
    """The gateway answered that it will not or cannot; `problem` is its RFC 9457 document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem

    def __str__(self) -> str:
        return str(self.problem.get("detail") or self.problem.get("title") or f"HTTP status {self.status}")


class ReadPolicy(NamedTuple):
    """A policy as read, and the tag that a change of it must bring."""

    document: dict[str, Any]
    etag: str


class AdminClient:
    """Calls one gateway's admin API.

    Every method raises `GatewayUnreachable` or `GatewayRefusal`.

    Args:
        url: where the admin API is, e.g. `http://127.0.0.1:8080`.
        token: a bearer token.
        timeout_s: longest wait for an answer; a policy change waits for versions to load, so it is generous.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 120.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/admin/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=not is_local(url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def policies(self) -> list[dict[str, Any]]:
        """List all policies, page by page."""
        return [policy for page in self._pages("/policies", "after") for policy in page["policies"]]

    def policy(self, model: str) -> ReadPolicy | None:
        """Read a policy; None when the model has none."""
        try:
            answer = self._call("GET", f"/policies/{model}")
        except GatewayRefusal as refusal:
            if refusal.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return ReadPolicy(answer.json(), answer.headers["etag"])

    def create_policy(self, model: str, document: Mapping[str, Any], reason: str) -> dict[str, Any]:
        """Write the first policy of a model."""
        return self._write("PUT", model, {**document, "reason": reason}, {"If-None-Match": "*"})

    def put_policy(self, model: str, document: Mapping[str, Any], reason: str, etag: str) -> dict[str, Any]:
        """Replace the policy that was read with `etag`."""
        return self._write("PUT", model, {**document, "reason": reason}, {"If-Match": etag})

    def patch_policy(
        self, model: str, patch: Mapping[str, Any], reason: str, etag: str, *, force: bool = False
    ) -> dict[str, Any]:
        """Change parts of the policy that was read with `etag` (RFC 7396).

        `force` also gives a share to a version that was just taken back for failing hard.
        """
        return self._write("PATCH", model, {**patch, "reason": reason}, {"If-Match": etag}, force=force)

    def explain(self, model: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask where a request with these `headers`, `parameters` and `version` would go, and why."""
        return self._json("POST", f"/policies/{model}/explain", json=dict(question))

    def change_policies(
        self, changes: Sequence[Mapping[str, Any]], reason: str, *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Change several policies, all or none; each names its `model`, the `revision` read and the new `policy`."""
        body = {"changes": [dict(change) for change in changes], "reason": reason}
        return self._json("POST", "/policies:batch", json=body, params={"dry_run": dry_run})

    def rollback(self, model: str, reason: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Go back to the last good policy; return the policy that stands then."""
        return self._json("POST", f"/policies/{model}/rollback", json={"reason": reason}, params={"dry_run": dry_run})

    def undo(self, model: str, revision: int | None, reason: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Bring back a revision's policy, else the one before the last write."""
        body = {"reason": reason} | ({} if revision is None else {"revision": revision})
        return self._json("POST", f"/policies/{model}/undo", json=body, params={"dry_run": dry_run})

    def rollouts(self) -> list[dict[str, Any]]:
        """List each model's last rollout."""
        return [rollout for page in self._pages("/rollouts", "after") for rollout in page["rollouts"]]

    def rollout(self, model: str) -> dict[str, Any]:
        """Show a model's last rollout."""
        return self._json("GET", f"/rollouts/{model}")

    def start_rollout(
        self, model: str, plan: Mapping[str, Any], reason: str, *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Start to roll out the `version` of a plan."""
        body = {**plan, "reason": reason}
        return self._json("POST", f"/rollouts/{model}", json=body, params={"dry_run": dry_run})

    def act_on_rollout(self, model: str, act: str, reason: str, **more: Any) -> dict[str, Any]:
        """Pause, resume, promote or abort a rollout."""
        return self._json("POST", f"/rollouts/{model}/{act}", json={"reason": reason, **more})

    def add_token(self, name: str, role: str) -> str:
        """Make a token; an older one of the name ends."""
        return str(self._json("PUT", f"/tokens/{name}", json={"role": role})["token"])

    def remove_token(self, name: str) -> None:
        """End a token."""
        self._call("DELETE", f"/tokens/{name}")

    def models(self) -> list[dict[str, Any]]:
        """List models with their versions."""
        models: list[dict[str, Any]] = self._json("GET", "/models")["models"]
        return models

    def model(self, name: str) -> dict[str, Any]:
        """Show one model with its versions."""
        return self._json("GET", f"/models/{name}")

    def register(self, name: str, onnx: bytes, *, example: bytes | None = None, tags: Mapping[str, str] = {}) -> int:
        """Add a version to the registry; return its number.

        Args:
            name: of the model.
            onnx: the file's content.
            example: a V2 inference request as JSON; its answer becomes the golden one.
            tags: kept with the version.
        """
        body: dict[str, Any] = {"onnx": base64.b64encode(onnx).decode(), "tags": dict(tags)}
        if example is not None:
            body["example"] = msgspec.Raw(example)
        content = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        answer = self._call("POST", f"/models/{name}/versions", content=content, headers=headers)
        return int(answer.json()["version"])

    def shadow_reports(self, model: str) -> dict[str, Any]:
        """Show how far the answers of a model's shadows are from the primary's."""
        return self._json("GET", f"/models/{model}/shadow")

    def experiment(self, model: str, control: str | None = None) -> dict[str, Any]:
        """Compare a model's variants with `control`, else with the heaviest."""
        return self._json("GET", f"/models/{model}/experiment", params={"control": control} if control else {})

    def drift(self, model: str) -> dict[str, Any]:
        """Show how far a model's data and predictions are from their reference."""
        return self._json("GET", f"/drift/{model}")

    def performance(self, model: str) -> dict[str, Any]:
        """Show how a model does by the labels that have come."""
        return self._json("GET", f"/performance/{model}")

    def hold_rollbacks(self, model: str, reason: str, *, held: bool = True) -> dict[str, Any]:
        """Forbid automatic rollbacks of a model, or allow them again."""
        return self._json("POST", f"/performance/{model}/hold", json={"held": held, "reason": reason})

    def incidents(self, model: str | None = None) -> dict[str, Any]:
        """List incidents as they stand, the youngest first."""
        return self._json("GET", "/incidents", params={"model": model} if model else {})

    def keys(self) -> list[dict[str, Any]]:
        """List the keys of the data plane."""
        keys: list[dict[str, Any]] = self._json("GET", "/keys")["keys"]
        return keys

    def create_key(self, wanted: Mapping[str, Any], reason: str) -> dict[str, Any]:
        """Make a key; the answer has its secret as `key`, for the only time."""
        return self._json("POST", "/keys", json=dict(wanted), headers={"X-Shepherd-Reason": reason})

    def revoke_key(self, name: str, reason: str) -> None:
        """End a key."""
        self._call("DELETE", f"/keys/{name}", headers={"X-Shepherd-Reason": reason})

    def log(self) -> dict[str, Any]:
        """Read the request log's accounting."""
        return self._json("GET", "/log")

    def status(self) -> dict[str, Any]:
        """Read node, models, policies and log accounting at once."""
        return self._json("GET", "/status")

    def audit(self) -> Iterator[dict[str, Any]]:
        """Read the whole audit log, oldest first."""
        for page in self._pages("/audit", "after_seq"):
            yield from page["entries"]

    def _pages(self, path: str, cursor: str) -> Iterator[dict[str, Any]]:
        position: dict[str, Any] = {}
        while True:
            page = self._json("GET", path, params=position | {"limit": 1000})
            yield page
            if page["next"] is None:
                return
            position = {cursor: page["next"]}

    def _write(
        self, method: str, model: str, body: Mapping[str, Any], condition: Mapping[str, str], *, force: bool = False
    ) -> dict[str, Any]:
        headers, params = dict(condition), {"force": force}
        return self._json(method, f"/policies/{model}", json=dict(body), headers=headers, params=params)

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._call(method, path, **request).json()
        return answer

    def _call(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TimeoutException:
            raise GatewayUnreachable(f"{self.url}: no answer in time") from None
        except httpx.HTTPError as error:
            raise GatewayUnreachable(f"{self.url}: {error}; is the gateway up? See `shepherd doctor`") from None
        if answer.is_success:
            return answer
        is_problem = answer.headers.get("content-type", "").startswith(_PROBLEM)
        problem = (
            answer.json() if is_problem else {"detail": f"{self.url}: {answer.status_code}; is this an admin API?"}
        )
        raise GatewayRefusal(answer.status_code, problem)


def is_local(url: str) -> bool:
    """Tell whether a URL means this machine, where no proxy has business."""
    return is_loopback(urlsplit(url).hostname or "")
