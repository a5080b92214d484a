"""Makes tests/edge_agent/data: a tiny SSD detector of red and blue squares, in both orders of outputs.

    python scripts/make_tiny_detector.py

Needs tensorflow; takes a few seconds: nothing is trained. `detector.tflite` has the outputs of the older
exporter (boxes, classes, scores, count), `detector_tf2.tflite` those of the newer one (scores, boxes, count,
classes), `raw.tflite` what goes into the last operation. The golden samples are answered by the first. The
tests read the files that are checked in.
"""

import sys
from pathlib import Path

import numpy as np

from contract.artifacts import Preprocessing
from contract.codec import encode

DATA = Path(__file__).resolve().parent.parent / "tests" / "edge_agent" / "data"
SEED = 20261121
SIDE, CELLS = 64, 4
CELL = SIDE // CELLS
LABELS = ("red", "blue")
MAX_DETECTIONS = 6
SAMPLES = 8
OLD_ORDER = ("boxes", "classes", "scores", "count")
NEW_ORDER = ("scores", "boxes", "count", "classes")
OLD_NAMES = ("", ":1", ":2", ":3")
NEW_NAMES = ("1", "3", "0", "2")
# How it is written down: TensorFlow, models/research/object_detection/export_tflite_graph_lib_tf2.py.
OPERATION = "name: 'TFLite_Detection_PostProcess' " + " ".join(
    f"attr {{ key: '{key}' value {{ {value} }} }}"
    for key, value in (
        ("max_detections", f"i: {MAX_DETECTIONS}"),
        ("max_classes_per_detection", "i: 1"),
        ("use_regular_nms", "b: false"),
        ("nms_score_threshold", "f: 0.2"),
        ("nms_iou_threshold", "f: 0.5"),
        ("y_scale", "f: 10"),
        ("x_scale", "f: 10"),
        ("h_scale", "f: 5"),
        ("w_scale", "f: 5"),
        ("num_classes", f"i: {len(LABELS)}"),
    )
)


def draw_samples(count: int, random: np.random.Generator) -> np.ndarray:
    """Return pictures (count, 64, 64, 3) uint8 with one or two squares that fill a cell."""
    pictures = random.integers(0, 30, (count, SIDE, SIDE, 3)).astype(np.uint8)
    for picture in pictures:
        for cell in random.choice(CELLS * CELLS, random.integers(1, 3), replace=False):
            top, left = CELL * (cell // CELLS), CELL * (cell % CELLS)
            colour = random.choice([0, 2])
            picture[top : top + CELL, left : left + CELL, colour] = random.integers(170, 256)
    return pictures


def build() -> "tf.Module":  # noqa: F821
    """Return a detector: each cell is an anchor, whose scores are its mean colours."""
    import tensorflow as tf

    centres = (np.arange(CELLS) + 0.5) / CELLS
    y, x = np.meshgrid(centres, centres, indexing="ij")
    size = np.full_like(y, 1 / CELLS)
    anchors = np.stack([y, x, size, size], -1).reshape(-1, 4).astype(np.float32)
    # From red, green, blue to background, red, blue.
    colours = np.array([[0, 8, -8], [0, -8, -8], [0, -8, 8]], np.float32)
    mean = np.full((CELL, CELL, 1, 1), 1 / CELL**2, np.float32)
    still = np.full((CELL, CELL, 3, 4), 1e-4, np.float32)

    @tf.function(experimental_implements=OPERATION)
    def process(_boxes, _scores, _anchors):
        rows = MAX_DETECTIONS
        return tf.zeros((1, rows, 4)), tf.zeros((1, rows)), tf.zeros((1, rows)), tf.zeros((1,))

    class Detector(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])
        def detect(self, image):
            scores = tf.sigmoid(tf.nn.conv2d(image, mean * colours, CELL, "VALID") - 4)
            boxes = tf.nn.conv2d(image, still, CELL, "VALID")
            cells = (1, CELLS * CELLS, -1)
            found = process(tf.reshape(boxes, cells), tf.reshape(scores, cells), tf.constant(anchors))
            return dict(zip(OLD_ORDER, found, strict=True))

    return Detector()


def convert(pictures: np.ndarray) -> bytes:
    """Quantize to int8 with uint8 pictures; the last operation stays float, as in Coral's detectors."""
    import tensorflow as tf

    detector = build()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [detector.detect.get_concrete_function()], detector
    )
    converter.allow_custom_ops = True
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [picture[np.newaxis].astype(np.float32) / 255] for picture in pictures
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    return bytes(converter.convert())


def rearrange(content: bytes, order: "tuple[str, ...]", names: "list[str]") -> bytes:
    """Return the model with its outputs in another order and under other names."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    # The operation's own outputs are always in the older order.
    tensors = dict(zip(OLD_ORDER, graph.operators[-1].outputs, strict=True))
    for part, name in zip(order, names, strict=True):
        graph.tensors[tensors[part]].name = name.encode("ascii")
    graph.outputs = [tensors[part] for part in order]
    model.signatureDefs = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def cut(content: bytes) -> bytes:
    """Return the model without its last operation: its outputs are raw box codes and scores."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    graph.outputs = list(graph.operators.pop().inputs[:2])
    model.signatureDefs = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def answer(content: bytes, inputs: np.ndarray) -> "list[np.ndarray]":
    """Return the model's own answers, one array (count, ...) for each output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    answers = []
    for picture in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[np.newaxis])
        interpreter.invoke()
        found = [interpreter.get_tensor(given["index"]) for given in interpreter.get_output_details()]
        answers.append([each.copy() for each in found])
    return [np.concatenate(each) for each in zip(*answers, strict=True)]


def main() -> int:
    """Write the models, their labels, their preprocessing and golden samples."""
    random = np.random.default_rng(SEED)
    content = convert(draw_samples(100, random))
    old = rearrange(content, OLD_ORDER, ["TFLite_Detection_PostProcess" + end for end in OLD_NAMES])
    new = rearrange(content, NEW_ORDER, ["StatefulPartitionedCall:" + end for end in NEW_NAMES])
    inputs = draw_samples(SAMPLES, random)
    answers = answer(old, inputs)
    (DATA / "detector.tflite").write_bytes(old)
    (DATA / "detector_tf2.tflite").write_bytes(new)
    (DATA / "raw.tflite").write_bytes(cut(content))
    (DATA / "detector_labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    (DATA / "detector_preprocessing.json").write_bytes(encode(Preprocessing(SIDE, SIDE, 3)))
    names = ["outputs", "outputs_1", "outputs_2", "outputs_3"]
    np.savez_compressed(DATA / "detector_golden.npz", inputs=inputs, **dict(zip(names, answers, strict=True)))
    print(f"{len(old)} bytes; scores {answers[2][:3].round(2).tolist()}, counts {answers[3].tolist()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
