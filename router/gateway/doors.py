"""The two doors put together around what they share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from router.adapters.admin_repository import AdminRepository
from router.gateway.catalogue import Catalogue
from router.gateway.feedback import Labels
from router.gateway.grpc.door import GrpcDoor
from router.gateway.http.asgi import HttpApp
from router.gateway.http.exchange import InferService
from router.gateway.http.routes.all import http_routes
from router.gateway.http.server import HttpServer
from router.gateway.http.tls import follow_certificates, grpc_credentials, http_tls
from router.gateway.log_trace_settings import LogTraceSettings
from router.gateway.repository import Repository
from router.gateway.statistics import Statistics
from router.ports import LabelSink
from router.settings import Settings
from serving.telemetry.publisher import Publisher

#: How long doors that close wait for clients to take their last answers, after the drain.
LAST_ANSWERS_S: Final = 1.0


class Doors(NamedTuple):
    """Where clients come in."""

    http: HttpServer
    grpc: GrpcDoor


def build_doors(
    settings: Settings,
    service: InferService,
    catalogue: Catalogue,
    *,
    labels: LabelSink,
    publisher: Publisher,
    metrics_dir: Path,
) -> Doors:
    """Give both doors the same service, catalogue, statistics, repository and settings, so that they say the same.

    Raises:
        OSError: a certificate cannot be read.
    """
    statistics = Statistics(metrics_dir, publisher)
    control = AdminRepository(settings.admin_host, settings.admin_port, ready_timeout_s=settings.ready_timeout_s)
    repository = Repository(catalogue, control)
    log_trace = LogTraceSettings(settings.log_level, catalogue)
    feedback = Labels(catalogue, labels)
    http = HttpServer(
        HttpApp(http_routes(catalogue, statistics, repository, log_trace, feedback), service.authorizer),
        service,
        keep_alive_s=settings.keep_alive_s,
        drain_timeout_s=settings.drain_timeout_s + LAST_ANSWERS_S,
        tls=http_tls(settings),
        renew_tls=partial(follow_certificates, settings),
    )
    grpc = GrpcDoor(
        service,
        catalogue,
        statistics=statistics,
        repository=repository,
        log_trace=log_trace,
        labels=feedback,
        credentials=grpc_credentials(settings),
    )
    return Doors(http, grpc)
