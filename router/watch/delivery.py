"""Tells receivers of incidents: each one by itself, again with growing pauses, and at last to the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec

from router.adapters.webhook import WebhookRefused, Webhooks
from router.monitor.events import CLOUD_EVENTS_TYPE, alertmanager_alert, cloud_event
from router.monitor.incident import Transition
from router.monitor.retraining import RetrainFormat, retrain_body
from router.performance.ladder import Act

#: Pauses before a delivery is tried again.
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_TIMEOUT_S: Final = 5.0

Bury = Callable[[Transition, str, str], Awaitable[None]]
Payload = Callable[[Transition], Awaitable[Mapping[str, Any]]]


class Receivers(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to know."""

    source: str
    """URL of this gateway, for receivers to tell it from others."""
    events: Sequence[str] = ()
    """Get CloudEvents."""
    alerts: Sequence[str] = ()
    """Get what Alertmanager would post."""
    retrain: str | None = None
    retrain_format: RetrainFormat = "generic"


class Delivery:
    """Delivers transitions at least once; a receiver knows a repetition by its `X-Shepherd-Delivery`."""

    def __init__(
        self,
        webhooks: Webhooks,
        receivers: Receivers,
        *,
        payload: Payload,
        bury: Bury,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._webhooks = webhooks
        self._receivers = receivers
        self._payload = payload
        self._bury = bury
        self._pauses_s = pauses_s

    async def deliver(self, transition: Transition) -> None:
        """Tell everybody; returns when each has been told or given up."""
        receivers = self._receivers
        event, alert = cloud_event(transition, receivers.source), alertmanager_alert(transition, receivers.source)
        posts = [self._post(url, event, transition, CLOUD_EVENTS_TYPE) for url in receivers.events]
        if transition.act in {Act.OPEN, Act.ESCALATE, Act.RESOLVE}:
            posts += [self._post(url, alert, transition) for url in receivers.alerts]
        if transition.act is Act.RETRAIN and receivers.retrain is not None:
            body = retrain_body(await self._payload(transition), receivers.retrain_format)
            posts.append(self._post(receivers.retrain, body, transition))
        await asyncio.gather(*posts)

    async def _post(
        self, url: str, body: Mapping[str, Any], transition: Transition, content_type: str = "application/json"
    ) -> None:
        why = ""
        for pause_s in (*self._pauses_s, None):
            try:
                if await self._webhooks.post(
                    url,
                    body,
                    delivery=transition.id,
                    at=transition.at,
                    timeout_s=_TIMEOUT_S,
                    content_type=content_type,
                ):
                    return
                why = "the answer was not 2xx"
            except WebhookRefused as error:  # no pause makes an address acceptable
                await self._bury(transition, url, str(error))
                return
            except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        await self._bury(transition, url, why)
