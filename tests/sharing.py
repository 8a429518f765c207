"""How processes share a run of the tests: one gets all that uses the gateway, and the other files go to who is free."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadFileScheduling

#: They take about half of the time, so they are given out first: the others then end at about the same time.
END_TO_END: Final = "tests/e2e/"


class GatewayApart(LoadFileScheduling):
    """Gives out files, and all end-to-end ones as one."""

    def _split_scope(self, nodeid: str) -> str:
        return END_TO_END if nodeid.startswith(END_TO_END) else str(super()._split_scope(nodeid))
