"""Which part of a graph the Edge TPU compiler takes: the first connected piece that it can map. Pure rules.

Source: tensorflow/lite/graph_info.cc, PartitionGraphIntoIndependentNodeSubsets: the compiler cuts a graph as
TensorFlow Lite's delegates do, and keeps the first piece.
"""

from collections.abc import Sequence

from quantize.op_rules import SECOND_SUBGRAPH, Placement, judge
from quantize.tflite_model import Operator, TfliteModel


def place(model: TfliteModel) -> tuple[Placement, ...]:
    """Predict where each operator of a model will run, in the order of the file.

    The compiler maps one connected piece: the first one. What depends on an operator that stays behind stays
    behind too, and so does every later piece.
    """
    own = [judge(operator) for operator in model.operators]
    first = _first_piece(model, [placement.target == "tpu" for placement in own])
    late = Placement(
        "cpu",
        SECOND_SUBGRAPH,
        "it comes after an operator that stays on the CPU",
        "replace the first operator that stays on the CPU, or move it to the end of the model",
    )
    return tuple(
        placement if placement.target == "cpu" or index in first else late
        for index, placement in enumerate(own)
    )


def _first_piece(model: TfliteModel, wanted: Sequence[bool]) -> set[int]:
    """Return the operators of the first piece that can be handed over whole."""
    produced = {tensor.index for operator in model.operators for tensor in operator.outputs}
    waiting = {operator.index: operator for operator in model.operators}
    while waiting:
        for kind in (False, True):
            piece = _ready(waiting, wanted, kind, produced)
            if kind and piece:
                return piece
    return set()


def _ready(waiting: dict[int, Operator], wanted: Sequence[bool], kind: bool, pending: set[int]) -> set[int]:
    """Take out of `waiting` all of one kind whose inputs are there; their outputs leave `pending`."""
    piece: set[int] = set()
    grew = True
    while grew:
        grew = False
        for index in list(waiting):
            needed = {tensor.index for tensor in waiting[index].present}
            if wanted[index] == kind and not needed & pending:
                pending -= {tensor.index for tensor in waiting.pop(index).outputs}
                piece.add(index)
                grew = True
    return piece
