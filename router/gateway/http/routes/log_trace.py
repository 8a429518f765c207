"""Paths of the V2 logging and trace extensions."""

from __future__ import annotations

from router.access.scope import Action
from router.gateway.http.routes.table import Asked, Reply, Routes
from router.gateway.log_trace_settings import LogTraceSettings


class LogTraceRoutes:
    """`/v2/logging`, `/v2/trace/setting`, `/v2/models/{m}/trace/setting`."""

    def __init__(self, log_trace: LogTraceSettings) -> None:
        self._log_trace = log_trace

    def register(self, routes: Routes) -> None:
        """Put them into the table."""
        routes.add("GET", "/v2/logging", Action.METADATA, self.log_settings)
        routes.add("POST", "/v2/logging", Action.SETTINGS, self.change_log_settings)
        for path in ("/v2/trace/setting", "/v2/models/{model}/trace/setting"):
            routes.add("GET", path, Action.METADATA, self.trace_settings)
            routes.add("POST", path, Action.SETTINGS, self.change_trace_settings)

    async def log_settings(self, _asked: Asked) -> Reply:
        """Show the log settings in force."""
        return Reply(self._log_trace.log_settings())

    async def change_log_settings(self, asked: Asked) -> Reply:
        """Accept what is so already, refuse the rest."""
        return Reply(self._log_trace.change_log_settings(asked.members()))

    async def trace_settings(self, asked: Asked) -> Reply:
        """Show the trace settings in force."""
        return Reply(self._log_trace.trace_settings(asked.path.get("model", "")))

    async def change_trace_settings(self, asked: Asked) -> Reply:
        """Accept what is so already, refuse the rest."""
        return Reply(self._log_trace.change_trace_settings(asked.path.get("model", ""), asked.members()))
