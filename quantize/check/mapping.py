"""Which part of a graph the Edge TPU compiler takes: the first connected piece that it can map. Pure rules.

Source: tensorflow/lite/graph_info.cc, PartitionGraphIntoIndependentNodeSubsets: the compiler cuts a graph as
TensorFlow Lite's delegates do, and keeps the first piece.
"""

from collections import defaultdict
from collections.abc import Sequence

from quantize.check.op_rules import SECOND_SUBGRAPH, Placement, judge
from quantize.tflite_model import TfliteModel


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
    """Return the operators of the first piece; the first operator that is ready decides whose turn it is."""
    made = {tensor.index for operator in model.operators for tensor in operator.outputs}
    waiting_for = [{tensor.index for tensor in operator.present} & made for operator in model.operators]
    users: dict[int, list[int]] = defaultdict(list)
    for index, needed in enumerate(waiting_for):
        for tensor in needed:
            users[tensor].append(index)

    ready = {index for index, needed in enumerate(waiting_for) if not needed}
    while ready:
        kind = wanted[min(ready)]
        piece: set[int] = set()
        while turn := [index for index in ready if wanted[index] == kind]:
            ready.difference_update(turn)
            piece.update(turn)
            for tensor in (tensor.index for index in turn for tensor in model.operators[index].outputs):
                for user in users.pop(tensor, ()):
                    waiting_for[user].discard(tensor)
                    if not waiting_for[user]:
                        ready.add(user)
        if kind:
            return piece
    return set()
