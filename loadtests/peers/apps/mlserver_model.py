"""The model on MLServer, as a custom runtime named by `model-settings.json`."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from loadtests.peers.apps.classify import Classifier


class Model(MLModel):
    """MLServer's two steps."""

    async def load(self) -> bool:
        """Load the file that the settings name."""
        self._classifier = Classifier(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        found = self._classifier.run(rows)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(self._classifier.output, found)]
        )
