"""Prints what models answer to the same inputs, byte for byte; it runs here and on the board.

    python raw_outputs.py AUTO|BUILTIN_REF COUNT MODEL...

AUTO are the kernels that the agent runs, BUILTIN_REF TFLite's reference kernels, which compute the same on
every processor. The inputs are made from a seed, by a generator of numpy's that is the same in every version.
"""

import json
import sys

import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType

SEED = 20261121


def draw_inputs(spec, count):
    """Return black, white, then noise, in the shape and dtype of a model's input."""
    limits = np.iinfo(spec["dtype"])
    noise = np.random.RandomState(SEED)
    drawn = [np.full(spec["shape"], value) for value in (limits.min, limits.max)]
    drawn += [noise.randint(limits.min, limits.max + 1, size=spec["shape"]) for _ in range(count - 2)]
    return [each.astype(spec["dtype"]) for each in drawn]


def run(kernels, path, count):
    """Return each input and the raw outputs that it gives, all flat."""
    model = Interpreter(path, experimental_op_resolver_type=getattr(OpResolverType, kernels))
    model.allocate_tensors()
    (spec,) = model.get_input_details()
    answers = []
    for tensor in draw_inputs(spec, count):
        model.set_tensor(spec["index"], tensor)
        model.invoke()
        outputs = [model.get_tensor(found["index"]).ravel().tolist() for found in model.get_output_details()]
        answers.append((tensor.ravel().tolist(), outputs))
    return answers


found = [run(sys.argv[1], path, int(sys.argv[2])) for path in sys.argv[3:]]
print(json.dumps({"numpy": np.__version__, "answers": found}))
