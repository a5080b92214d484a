"""The model behind mlserver. Runs in an environment of its own; model-settings.json names it."""

from ai_edge_litert.interpreter import Interpreter
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class LiteRtModel(MLModel):
    """One input, one output."""

    async def load(self) -> bool:
        """Load it."""
        self._interpreter = Interpreter(model_path=self.settings.parameters.uri)
        self._interpreter.allocate_tensors()
        self._taken = self._interpreter.get_input_details()[0]["index"]
        self._given = self._interpreter.get_output_details()[0]["index"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it."""
        self._interpreter.set_tensor(self._taken, NumpyCodec.decode_input(payload.inputs[0]))
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._given)
        return InferenceResponse(model_name="model", outputs=[NumpyCodec.encode_output("out", found)])
