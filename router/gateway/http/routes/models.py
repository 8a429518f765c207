"""Paths about models: metadata, readiness, configuration, statistics; and V1's view of them."""

from __future__ import annotations

from router.access.scope import Action
from router.gateway.catalogue import Catalogue
from router.gateway.http.routes.server import readiness
from router.gateway.http.routes.table import Asked, Reply, Routes
from router.gateway.statistics import Statistics
from serving.protocol.errors import ErrorKind, ServingError, not_found

_V2 = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
_V1 = ("/v1/models/{model}", "/v1/models/{model}/versions/{version}")


class ModelRoutes:
    """`/v2/models/*` except inference, and `GET /v1/models*`."""

    def __init__(self, catalogue: Catalogue, statistics: Statistics) -> None:
        self._catalogue = catalogue
        self._statistics = statistics

    def register(self, routes: Routes) -> None:
        """Put them into the table."""
        routes.add("GET", "/v2/models/stats", Action.METADATA, self.all_statistics)
        for base in _V2:
            routes.add("GET", base, Action.METADATA, self.metadata)
            routes.add("GET", f"{base}/ready", Action.METADATA, self.ready)
            routes.add("GET", f"{base}/config", Action.METADATA, self.config)
            routes.add("GET", f"{base}/stats", Action.METADATA, self.statistics)
            routes.add("POST", f"{base}/infer", Action.INFER, self.no_such_model)
        routes.add("GET", "/v1/models", Action.METADATA, self.v1_list)
        for base in _V1:
            routes.add("GET", base, Action.METADATA, self.v1_status)
            routes.add("POST", f"{base}:predict", Action.INFER, self.no_such_model)
            for verb in ("classify", "regress", "explain"):
                routes.add("POST", f"{base}:{verb}", Action.INFER, self.only_predict)

    async def metadata(self, asked: Asked) -> Reply:
        """V2 model metadata."""
        return Reply(self._catalogue.model_metadata(asked.model, asked.version))

    async def ready(self, asked: Asked) -> Reply:
        """Say whether a model, or one version, can answer."""
        return readiness(self._catalogue.reason_model_unready(asked.model, asked.version))

    async def config(self, asked: Asked) -> Reply:
        """Triton's model configuration, as far as it describes us."""
        return Reply(self._catalogue.model_config(asked.model, asked.version))

    async def statistics(self, asked: Asked) -> Reply:
        """Statistics of a model's versions, or of one."""
        self._catalogue.check_known(asked.model, asked.version)
        return Reply({"model_stats": await self._statistics.read(asked.model, asked.version)})

    async def all_statistics(self, asked: Asked) -> Reply:
        """Statistics of everything that has been served, as far as the caller may know of it."""
        found = await self._statistics.read("", None)
        return Reply({"model_stats": [each for each in found if asked.sees(each["name"])]})

    async def no_such_model(self, asked: Asked) -> Reply:
        """Refuse an inference whose path the callback way did not recognise, so whose model or version cannot be."""
        self._catalogue.check_known(asked.model, asked.version)
        raise not_found(f'unknown model "{asked.model}"')

    async def only_predict(self, _asked: Asked) -> Reply:
        """Refuse V1 verbs that need more than tensors."""
        raise ServingError(ErrorKind.UNSUPPORTED, "of the V1 verbs only :predict is offered")

    async def v1_list(self, asked: Asked) -> Reply:
        """KServe V1's list of models."""
        return Reply({"models": [model for model in self._catalogue.models() if asked.sees(model)]})

    async def v1_status(self, asked: Asked) -> Reply:
        """KServe V1 readiness and TF Serving's version status in one document."""
        catalogue = self._catalogue
        numbers = catalogue.check_known(asked.model, asked.version)
        reasons = {number: catalogue.reason_model_unready(asked.model, number) for number in numbers}
        statuses = [
            {
                "version": str(number),
                "state": "AVAILABLE" if reason is None else "LOADING",
                "status": {"error_code": "OK", "error_message": reason or ""},
            }
            for number, reason in reasons.items()
        ]
        ready = catalogue.reason_model_unready(asked.model, asked.version) is None
        return Reply({"name": asked.model, "ready": ready, "model_version_status": statuses})
