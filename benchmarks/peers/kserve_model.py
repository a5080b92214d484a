"""The model behind kserve: `python kserve_model.py MODEL PORT`. Runs in an environment of its own."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from kserve import InferOutput, InferResponse, Model, ModelServer


class LiteRtModel(Model):
    """One input, one output."""

    def __init__(self, path: str) -> None:
        super().__init__("model")
        self._interpreter = Interpreter(model_path=path)
        self._interpreter.allocate_tensors()
        self._taken = self._interpreter.get_input_details()[0]["index"]
        self._given = self._interpreter.get_output_details()[0]["index"]
        self.ready = True

    def predict(self, request, headers=None):
        """Run it."""
        self._interpreter.set_tensor(self._taken, request.inputs[0].as_numpy())
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._given)
        output = InferOutput("out", list(found.shape), "UINT8")
        output.set_data_from_numpy(np.asarray(found), binary_data=request.use_binary_outputs)
        return InferResponse(request.id, "model", [output])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, access_log_format=None).start(
        [LiteRtModel(sys.argv[1])]
    )
