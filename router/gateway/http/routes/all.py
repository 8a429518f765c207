"""The whole table of paths."""

from __future__ import annotations

from router.gateway.catalogue import Catalogue
from router.gateway.feedback import Labels
from router.gateway.http.routes.feedback import FeedbackRoutes
from router.gateway.http.routes.log_trace import LogTraceRoutes
from router.gateway.http.routes.models import ModelRoutes
from router.gateway.http.routes.repository import RepositoryRoutes
from router.gateway.http.routes.server import ServerRoutes
from router.gateway.http.routes.shared_memory import SharedMemoryRoutes
from router.gateway.http.routes.table import Routes
from router.gateway.log_trace_settings import LogTraceSettings
from router.gateway.repository import Repository
from router.gateway.statistics import Statistics


def http_routes(
    catalogue: Catalogue, statistics: Statistics, repository: Repository, log_trace: LogTraceSettings, labels: Labels
) -> Routes:
    """Build the table; paths that name no model come first."""
    routes = Routes()
    for group in (
        ServerRoutes(catalogue),
        ModelRoutes(catalogue, statistics),
        RepositoryRoutes(repository),
        LogTraceRoutes(log_trace),
        FeedbackRoutes(labels),
        SharedMemoryRoutes(),
    ):
        group.register(routes)
    return routes
