"""Answers pictures with whichever TensorFlow Lite this Python has. A script of its own, down to CPython 3.7.

    python -I oldest_child.py MODEL.tflite INPUTS.npy OUTPUTS.npy

INPUTS.npy holds (N, H, W, C) in the model's dtype; OUTPUTS.npy will hold (N, classes). Prints who answered.
Ends with 3 if there is no runtime, with 4 if the runtime refuses the model.
"""

import platform
import sys
from typing import Any

import numpy as np

NO_RUNTIME = 3
REFUSED = 4


def load_interpreter() -> Any:
    """Return the interpreter's class, and its package's name and version."""
    try:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter

        return Interpreter, "tflite_runtime " + tflite_runtime.__version__
    except ImportError:
        pass
    try:
        import tensorflow

        return tensorflow.lite.Interpreter, "tensorflow " + tensorflow.__version__
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(NO_RUNTIME)


def answer(make: Any, model: str, inputs: Any) -> Any:
    """Return the model's answers to the pictures, one at a time, (N, classes)."""
    interpreter = make(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for picture in inputs:
        interpreter.set_tensor(entry["index"], picture[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"]).reshape(-1))
    return np.stack(outputs)


def main() -> None:
    """Read, answer, write."""
    model, source, target = sys.argv[1:]
    make, name = load_interpreter()
    try:
        outputs = answer(make, model, np.load(source, allow_pickle=False))
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
    np.save(target, outputs)
    print(f"{name}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
