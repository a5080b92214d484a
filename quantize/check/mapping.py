"""Which part of a graph the Edge TPU compiler takes: the first connected piece that it can map. Pure rules.

Source: tensorflow/lite/graph_info.cc, PartitionGraphIntoIndependentNodeSubsets: the compiler cuts a graph as
TensorFlow Lite's delegates do, and keeps the first piece.
"""

from collections import defaultdict, deque
from collections.abc import Sequence

from quantize.check.op_rules import judge
from quantize.check.placement import LIMITATION, NO_BLOCKER, SECOND_SUBGRAPH, Placement
from quantize.tflite_model import Operator, TfliteModel


def place(model: TfliteModel) -> tuple[Placement, ...]:
    """Predict where each operator of a model will run, in the order of the file.

    The compiler maps one connected piece: the first one. What depends on an operator that stays behind stays
    behind too, and so does every later piece.
    """
    own = [judge(operator) for operator in model.operators]
    before, piece = _first_piece(model, [placement.target == "tpu" for placement in own])
    blockers = _find_blockers(model, own, before | piece)
    return tuple(
        placement if placement.target == "cpu" or index in piece else _left_behind(model, index, blocker)
        for index, (placement, blocker) in enumerate(zip(own, blockers, strict=True))
    )


def _first_piece(model: TfliteModel, wanted: Sequence[bool]) -> tuple[set[int], set[int]]:
    """Return the operators that run before the first piece, and those of the piece.

    As long as anything is ready, the first operator that is decides whose turn it is: the CPU's or the
    Edge TPU's. A turn lasts until nothing of its kind is ready.
    """
    made = {tensor.index for operator in model.operators for tensor in operator.outputs}
    waiting_for = [{tensor.index for tensor in operator.present} & made for operator in model.operators]
    users: dict[int, list[int]] = defaultdict(list)
    for index, needed in enumerate(waiting_for):
        for tensor in needed:
            users[tensor].append(index)

    ready: dict[bool, deque[int]] = {True: deque(), False: deque()}
    for index, needed in enumerate(waiting_for):
        if not needed:
            ready[wanted[index]].append(index)

    def run(kind: bool) -> set[int]:
        done: set[int] = set()
        while ready[kind]:
            index = ready[kind].popleft()
            done.add(index)
            for tensor in model.operators[index].outputs:
                for user in users.pop(tensor.index, ()):
                    waiting_for[user].discard(tensor.index)
                    if not waiting_for[user]:
                        ready[wanted[user]].append(user)
        return done

    # Both queues are still in the order of the file.
    cpu_begins = ready[False] and (not ready[True] or ready[False][0] < ready[True][0])
    before = run(False) if cpu_begins else set()
    return before, run(True)


def _find_blockers(model: TfliteModel, own: Sequence[Placement], passed: set[int]) -> list[int]:
    """Return for each operator the first one that stays on the CPU and that it has to wait for.

    What ran before the first piece, or in it, keeps nothing from the Edge TPU.
    """
    cause: dict[int, int] = {}
    blockers = []
    for index, operator in enumerate(model.operators):
        causes = [cause[tensor.index] for tensor in operator.present if tensor.index in cause]
        if own[index].target == "cpu" and index not in passed:
            causes.append(index)
        blockers.append(min(causes, default=NO_BLOCKER))
        if causes:
            cause.update((tensor.index, blockers[-1]) for tensor in operator.outputs)
    return blockers


def _left_behind(model: TfliteModel, index: int, blocker: int) -> Placement:
    if blocker == NO_BLOCKER:
        reason, fix = "it waits for an operator that waits for it", "the file is damaged: convert again"
    else:
        name = model.operators[blocker].name
        reason = f"it comes after operator {blocker} {name}, which stays on the CPU"
        fix = f"replace operator {blocker} {name}, or move it to the end of the model"
    # Public logs tell these two apart: a change between int8 and uint8 is only taken beside a mapped piece.
    status = LIMITATION if _changes_type(model.operators[index]) else SECOND_SUBGRAPH
    return Placement("cpu", status, reason, fix, blocker)


def _changes_type(operator: Operator) -> bool:
    return operator.name == "QUANTIZE" and len({t.dtype for t in (*operator.present, *operator.outputs)}) > 1
