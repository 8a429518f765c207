"""Tells one receiver of incidents: again with growing pauses, and at last to the dead letters.

What is promised, in `docs/monitoring.md` to those who receive: at least once, under one delivery id; an incident's
transitions in their order; a receiver that is slow or gone holds up nobody else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import httpx

from router.adapters.webhook import WebhookRefused, Webhooks
from router.monitor.incident import Transition
from router.monitor.retraining import RetrainFormat, is_accepted, retrain_body
from router.watch.authorization import Authorization
from router.watch.receivers import Body, Receiver

#: Pauses before a delivery is tried again.
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
TIMEOUT_S: Final = 5.0

Bury = Callable[[Transition, str, str], Awaitable[None]]
Payload = Callable[[Transition], Awaitable[Mapping[str, Any]]]


class Delivery:
    """The way to one receiver."""

    def __init__(
        self,
        webhooks: Webhooks,
        receiver: Receiver,
        *,
        source: str,
        payload: Payload,
        bury: Bury,
        retrain_format: RetrainFormat = "generic",
        authorization: Authorization | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare to tell.

        Args:
            webhooks: how to post.
            receiver: whom.
            source: URL of this gateway, for receivers to tell it from others.
            payload: says what to train; asked only for a retraining.
            bury: keeps what could not be delivered: the transition, the address, the reason.
            retrain_format: whose words a retraining is asked for in.
            authorization: what the receiver of retrainings asks for; no other receiver is shown it.
            pauses_s: before each further try.
            timeout_s: of one try.
            clock: Unix seconds; each try is signed with the time at which it is sent.
        """
        self._webhooks = webhooks
        self._receiver = receiver
        self._source = source
        self._payload = payload
        self._bury = bury
        self._retrain_format = retrain_format
        self._authorization = authorization or Authorization()
        self._pauses_s = pauses_s
        self._timeout_s = timeout_s
        self._clock = clock

    async def deliver(self, transition: Transition) -> None:
        """Tell of a transition, if the receiver wants it; returns when it has been told, or was given up."""
        receiver = self._receiver
        if not receiver.wants(transition):
            return
        if receiver.words == "retrain":
            body: Body = retrain_body(await self._payload(transition), self._retrain_format)
            content_type = "application/json"
        else:
            body, content_type = receiver.message(transition, self._source)
        why = ""
        for pause_s in (*self._pauses_s, None):
            try:
                if self._is_done(status := await self._post(transition, body, content_type)):
                    return
                why = f"the answer was {status}"
            except WebhookRefused as error:  # no pause makes an address acceptable
                why = str(error)
                break
            except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        await self._bury(transition, receiver.url, why)

    async def _post(self, transition: Transition, body: Body, content_type: str) -> int:
        is_retrain = self._receiver.words == "retrain"
        return await self._webhooks.post(
            self._receiver.url,
            body,
            delivery=transition.id,
            at=self._clock(),
            timeout_s=self._timeout_s,
            content_type=content_type,
            authorization=await asyncio.to_thread(self._authorization.read) if is_retrain else None,
        )

    def _is_done(self, status: int) -> bool:
        if self._receiver.words == "retrain":
            return is_accepted(status, self._retrain_format)
        return httpx.codes.is_success(status)
