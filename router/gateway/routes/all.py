"""The whole table of paths."""

from __future__ import annotations

from router.gateway.catalogue import Catalogue
from router.gateway.feedback import Labels
from router.gateway.log_trace_settings import Tuning
from router.gateway.repository import Repository
from router.gateway.routes.feedback import FeedbackRoutes
from router.gateway.routes.models import ModelRoutes
from router.gateway.routes.repository import RepositoryRoutes
from router.gateway.routes.server import ServerRoutes
from router.gateway.routes.shared_memory import SharedMemoryRoutes
from router.gateway.routes.table import Routes
from router.gateway.routes.tuning import TuningRoutes
from router.gateway.statistics import Statistics


def http_routes(
    catalogue: Catalogue, statistics: Statistics, repository: Repository, tuning: Tuning, labels: Labels
) -> Routes:
    """Build the table; paths that name no model come first."""
    routes = Routes()
    for group in (
        ServerRoutes(catalogue),
        ModelRoutes(catalogue, statistics),
        RepositoryRoutes(repository),
        TuningRoutes(tuning),
        FeedbackRoutes(labels),
        SharedMemoryRoutes(),
    ):
        group.register(routes)
    return routes
