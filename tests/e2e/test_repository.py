"""The repository extension on a whole gateway: a stock client loads and unloads versions, with an operator's token."""

from __future__ import annotations

import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.gateway import RunningGateway, eventually
from tests.load import traffic
from tests.models import add

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FOUR = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


def test_a_version_is_loaded_called_and_unloaded_and_no_call_is_lost(gateway: RunningGateway) -> None:
    """Whoever pins it is answered until it goes, and then told that it is not here; the policy's version stays."""
    model, headers = "repository", {"authorization": f"Bearer {gateway.token}"}
    with gateway.admin as admin:
        for bias in (1.0, 2.0):
            admin.register(model, add(bias), tags={})
    gateway.route(model, ("stable", 1, 10_000))
    pinned = f"{gateway.url}/v2/models/{model}/versions/2/infer"

    with tritonclient.http.InferenceServerClient(gateway.url.removeprefix("http://"), network_timeout=60) as client:
        client.load_model(model, headers=headers)
        eventually(lambda: client.is_model_ready(model, "2"), what="version 2 to be ready")
        with traffic(pinned, FOUR) as load:
            eventually(lambda: len(load.answers) > 50)
            client.unload_model(model, headers=headers)
            eventually(lambda: 404 in load.statuses, what="version 2 to be gone")

        assert set(load.statuses) == {200, 404}, load.answers[-3:]
        assert gateway.version(model, 2)["state"] == "absent"
        assert client.is_model_ready(model, "1")
        with pytest.raises(InferenceServerException, match="a policy names repository version 1"):
            client.unload_model(model, headers=headers)
        with pytest.raises(InferenceServerException, match="token"):
            client.load_model(model)
