"""What this router can say about the server and its models, for both doors: metadata and readiness."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as distribution_version
from typing import Any, Final

from router.gateway.dispatch.policy_view import PolicyView, VersionKey
from router.gateway.dispatch.pool import VersionPool
from router.gateway.model_config import model_config
from router.ports import VersionStatus
from serving.protocol.errors import ErrorKind, ServingError, not_found
from serving.protocol.messages import Signature, TensorSpec

SERVER_NAME: Final = "model-shepherd"
#: Triton's names of what is offered beyond the protocol itself.
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "sequence",
    "model_repository",
    "model_configuration",
    "statistics",
    "parameters",
    "logging",
    "trace",
)


class Catalogue:
    """Answers from the policies in force and the replicas that are connected."""

    def __init__(
        self,
        view: PolicyView,
        pools: Callable[[VersionKey], VersionPool | None],
        reason_unready: Callable[[], str | None],
    ) -> None:
        self._view = view
        self._pools = pools
        self.reason_unready: Final = reason_unready
        """Why this router should get no traffic, None when it should."""
        self._version = distribution_version("model-shepherd")
        self._signatures: dict[VersionKey, Signature] = {}
        """As last published: a version never changes, so its signature outlives its replicas."""

    def server_metadata(self) -> dict[str, Any]:
        """V2 server metadata."""
        return {"name": SERVER_NAME, "version": self._version, "extensions": list(EXTENSIONS)}

    def reason_model_unready(self, model: str, version: int | None) -> str | None:
        """Why a model or version cannot answer now, None when it can; without a version, every variant with traffic.

        Raises:
            ServingError: NOT_FOUND for a model or version that this gateway does not know.
        """
        for number in self._versions(model, version):
            key = (model, number)
            pool = self._pools(key)
            is_on_demand = self._view.hosted_endpoint(key) is not None and self._view.serves(key)
            if not is_on_demand and (pool is None or not pool.connected):
                return f'version {number} of model "{model}" has no ready replica'
        return None

    def model_metadata(self, model: str, version: int | None) -> dict[str, Any]:
        """V2 model metadata, from the signature that a replica of the version publishes.

        Raises:
            ServingError: NOT_FOUND, or UNAVAILABLE while no replica is there to say.
        """
        versions = self._versions(model, version)
        for number in versions:
            signature = self.signature(model, number)
            if signature is not None:
                known = [version] if version is not None else self._view.versions_of(model)
                return {
                    "name": model,
                    "versions": [str(each) for each in known],
                    "platform": signature.platform,
                    "inputs": [_describe(spec) for spec in signature.inputs],
                    "outputs": [_describe(spec) for spec in signature.outputs],
                }
        numbers = ", ".join(map(str, versions))
        raise ServingError(ErrorKind.UNAVAILABLE, f'model "{model}" has no ready replica of version {numbers} yet')

    def model_config(self, model: str, version: int | None) -> dict[str, Any]:
        """Triton's model configuration of a version, or of the one with most traffic.

        Raises:
            ServingError: NOT_FOUND, or UNAVAILABLE while no replica is there to say.
        """
        known = [version] if version is not None else self._view.versions_of(model)
        for number in self._versions(model, version):
            signature = self.signature(model, number)
            if signature is not None:
                return model_config(model, signature, known)
        raise ServingError(ErrorKind.UNAVAILABLE, f'model "{model}" has no ready replica yet')

    def check_known(self, model: str, version: int | None) -> list[int]:
        """List the versions that a model has here, or the one named.

        Raises:
            ServingError: NOT_FOUND.
        """
        self._versions(model, version)
        return self._view.versions_of(model) if version is None else [version]

    def models(self) -> list[str]:
        """Names of all models that can be called."""
        return sorted({model for model, _ in self._view.wanted})

    def variant_version(self, model: str, label: str) -> int:
        """Find the version of a variant by its name, which V1 calls a label.

        Raises:
            ServingError: NOT_FOUND.
        """
        served = self._view.models.get(model)
        for variant in served.stored.policy.variants if served else ():
            if variant.name == label:
                return variant.version
        raise not_found(f'model "{model}" has no variant "{label[:64]}"' if served else f'unknown model "{model}"')

    def statuses(self) -> list[VersionStatus]:
        """Where each version stands: as control says, and what is connected although control has not said so."""
        told = {(status.model, status.version): status for status in self._view.statuses}
        for key in self._view.wanted:
            pool = self._pools(key)
            state = "ready" if pool is not None and pool.connected else "loading"
            told.setdefault(key, VersionStatus(*key, state))
        return [told[key] for key in sorted(told)]

    def signature(self, model: str, version: int) -> Signature | None:
        """What a version takes and gives; None until a first replica has said so."""
        pool = self._pools((model, version))
        endpoint = next(iter(pool.endpoints), None) if pool else None
        if endpoint is None:
            hosted = self._view.hosted_endpoint((model, version))
            return hosted.signature if hosted else self._signatures.get((model, version))
        self._signatures[model, version] = endpoint.signature
        return endpoint.signature

    def _versions(self, model: str, version: int | None) -> list[int]:
        """The versions that a question is about: the one named, or those with traffic, heaviest first."""
        if version is not None:
            if not self._view.knows(model, version):
                raise not_found(f'model "{model}" has no version {version} here')
            return [version]
        served = self._view.models.get(model)
        if served is None:
            known = self._view.versions_of(model)
            if not known:
                raise not_found(f'unknown model "{model}"')
            return known[-1:]
        variants = sorted(served.stored.policy.variants, key=lambda variant: -variant.weight)
        return [variant.version for variant in variants if variant.weight]


def _describe(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
