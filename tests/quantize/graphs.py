"""Makes small graphs by hand: chains of operators over int8 tensors."""

import itertools

import numpy as np

from quantize.tflite_model import Operator, Tensor, TfliteModel

_numbers = itertools.count()


def tensor(shape=(1, 8, 8, 4), dtype="INT8", **changes) -> Tensor:
    index = next(_numbers)
    values = {
        "index": index,
        "name": f"model/layer_{index}/out",
        "dtype": dtype,
        "shape": shape,
        "signature": (),
        "scales": (0.1,),
        "zero_point": 0,
        "is_variable": False,
    }
    return Tensor(**{**values, **changes})


def constant(values, dtype="INT32", **changes) -> Tensor:
    array = np.asarray(values, dtype=np.int32 if dtype == "INT32" else np.int8)
    return tensor(array.shape, dtype, data=array.reshape(-1).view(np.uint8), **changes)


def operator(name, inputs, outputs, version=1, **options) -> Operator:
    return Operator(-1, name, version, tuple(inputs), tuple(outputs), options)


def model(*operators: Operator) -> TfliteModel:
    placed = tuple(
        Operator(index, op.name, op.version, op.inputs, op.outputs, op.options)
        for index, op in enumerate(operators)
    )
    made = {entry.index for op in placed for entry in op.outputs}
    used = {entry.index for op in placed for entry in op.present}
    inputs = [
        entry
        for op in placed
        for entry in op.present
        if entry.index not in made and not entry.is_constant and not entry.is_variable
    ]
    outputs = [entry for op in placed for entry in op.outputs if entry.index not in used]
    tensors = {entry.index: entry for op in placed for entry in (*op.present, *op.outputs)}
    return TfliteModel(
        tensors=tuple(tensors.values()),
        operators=placed,
        inputs=tuple(dict.fromkeys(inputs)),
        outputs=tuple(outputs),
        opcodes=tuple(dict.fromkeys((op.name, op.version) for op in placed)),
    )


def chain(*names: str) -> TfliteModel:
    """One operator after the other, each with one int8 input and output."""
    entries = [tensor() for _ in range(len(names) + 1)]
    return model(*(operator(name, [entries[n]], [entries[n + 1]]) for n, name in enumerate(names)))
