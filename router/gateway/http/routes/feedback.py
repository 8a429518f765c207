"""The path on which labels come back."""

from __future__ import annotations

from router.access.scope import Action
from router.gateway.feedback import Labels
from router.gateway.http.routes.table import Asked, Reply, Routes
from router.requestlog.label import read_feedback


class FeedbackRoutes:
    """`/v2/models/{m}[/versions/{v}]/feedback`."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def register(self, routes: Routes) -> None:
        """Put them into the table."""
        for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes.add("POST", f"{base}/feedback", Action.FEEDBACK, self.feedback)

    async def feedback(self, asked: Asked) -> Reply:
        """Take one label or several: 202 with what was accepted and refused, 400 when nothing was accepted."""
        taken = await self._labels.take(asked.model, asked.version, lambda: read_feedback(asked.body))
        return Reply(taken.document, 202 if taken.accepted else 400)
