"""Scores a .tflite classifier with whichever interpreter this Python has, down to CPython 3.7.

python score_tflite.py MODEL.tflite DATA.npz [--start 0] [--count N] [--threads 1]
DATA.npz holds x uint8 (N, H, W, C) and y (N,). The model takes uint8 pixels, or int8 shifted by 128.
"""

import argparse
import json
import sys

import numpy as np


def load_interpreter():
    """Return the interpreter's class, its package's name and version."""
    try:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter

        return Interpreter, "tflite_runtime", tflite_runtime.__version__
    except ImportError:
        pass
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter, "ai_edge_litert", ai_edge_litert.__version__
    except ImportError:
        pass
    import tensorflow

    return tensorflow.lite.Interpreter, "tensorflow", tensorflow.__version__


def count_right(interpreter, images, labels):
    """Return how many pictures get their own label as the best score."""
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if entry["dtype"] == np.int8:
        images = (images.astype(np.int16) - 128).astype(np.int8)
    elif entry["dtype"] != np.uint8:
        sys.exit("error: the model takes {}, not 8-bit pixels".format(entry["dtype"].__name__))
    right = 0
    for picture, label in zip(images, labels):  # noqa: B905 (CPython 3.7)
        interpreter.set_tensor(entry["index"], picture[np.newaxis])
        interpreter.invoke()
        right += int(interpreter.get_tensor(result["index"]).argmax() == label)
    return right


def main():
    """Score and print one JSON object."""
    parser = argparse.ArgumentParser(description="Scores a .tflite classifier.")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with np.load(args.data, allow_pickle=False) as arrays:
        images, labels = arrays["x"], arrays["y"]
    stop = len(labels) if args.count is None else args.start + args.count
    images, labels = images[args.start : stop], labels[args.start : stop]
    if not len(labels):
        sys.exit("error: no samples in that range")
    make, runtime, version = load_interpreter()
    interpreter = make(model_path=args.model, num_threads=args.threads)
    interpreter.allocate_tensors()
    accuracy = count_right(interpreter, images, labels) / len(labels)
    print(json.dumps({"accuracy": accuracy, "runtime": runtime, "version": version, "samples": len(labels)}))


if __name__ == "__main__":
    main()
