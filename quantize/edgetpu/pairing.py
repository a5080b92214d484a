"""Walks two graphs of one architecture side by side: what of one stands where what of the other stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quantize.tflite_model import Operator, Tensor, TfliteModel

_SHOWN = 60

Operands = Sequence[Tensor | None]


@dataclass(frozen=True)
class Moved:
    """One thing that is not as the template has it."""

    what: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.was[:_SHOWN]} in the template, {self.now[:_SHOWN]} in the new model"


@dataclass(frozen=True)
class Pairing:
    """Operators and tensors as (the template's, the new model's), each pair once.

    What is computed has exactly one twin. A constant may have several: one file keeps equal constants once,
    another keeps them apart. `moved` says what could not be paired; then the rest is not complete.
    """

    operators: tuple[tuple[Operator, Operator], ...]
    tensors: tuple[tuple[Tensor, Tensor], ...]
    moved: tuple[Moved, ...]


def pair(template: TfliteModel, new: TfliteModel, without: frozenset[str] = frozenset()) -> Pairing:
    """Pair two graphs by kind, order and wiring of their operators; names are of no account.

    Args:
        template: the one that says how it must be.
        new: the one that is compared with it.
        without: operators that are passed over in both, such as QUANTIZE: their output is their input.
    """
    graphs = tuple(_Graph(model, without) for model in (template, new))
    moved = _moved_kinds(graphs[0].operators, graphs[1].operators)
    if moved:
        return Pairing((), (), (moved,))
    found = _Twins()
    for (place, old), (_, other) in zip(graphs[0].operands(), graphs[1].operands(), strict=True):
        found.add(place, old, other)
    operators = tuple(zip(*(graph.operators for graph in graphs), strict=True))
    return Pairing(operators, tuple(found.tensors.values()), tuple(found.moved))


def place_of(operator: Operator) -> str:
    """Name an operator for a person."""
    return f"{operator.name} {operator.index} ({operator.tensor[:_SHOWN]})"


class _Twins:
    """Collects pairs of tensors, and what keeps them from being pairs."""

    def __init__(self) -> None:
        self.tensors: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.moved: list[Moved] = []
        self._twin_of: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def add(self, place: str, old: Operands, new: Operands) -> None:
        """Pair what stands in one place."""
        if [tensor is None for tensor in old] != [tensor is None for tensor in new]:
            self.moved.append(Moved(place, f"{len(old)} tensors", f"{len(new)} tensors, or others left out"))
            return
        for was, now in zip(old, new, strict=True):
            if was is None or now is None:
                continue
            if not (was.is_constant and now.is_constant) and not self._are_twins(was.index, now.index):
                self.moved.append(Moved(f"wiring of {place}", was.name, now.name))
            self.tensors[was.index, now.index] = (was, now)

    def _are_twins(self, was: int, now: int) -> bool:
        ours, theirs = self._twin_of
        return ours.setdefault(was, now) == now and theirs.setdefault(now, was) == was


class _Graph:
    """A graph in which some kinds of operators are passed over."""

    def __init__(self, model: TfliteModel, without: frozenset[str]) -> None:
        self._model = model
        self.operators = tuple(operator for operator in model.operators if operator.name not in without)
        self._origin: dict[int, Tensor] = {}
        for operator in model.operators:
            if operator.name in without and operator.present and operator.outputs:
                origin = self._origin_of(operator.present[0])
                self._origin[operator.outputs[0].index] = origin

    def _origin_of(self, tensor: Tensor) -> Tensor:
        return self._origin.get(tensor.index, tensor)

    def operands(self) -> Iterator[tuple[str, Operands]]:
        """Yield, in the same order for graphs of one kind, places and the tensors that stand there."""
        yield "inputs of the graph", self._model.inputs
        for operator in self.operators:
            inputs = [tensor and self._origin_of(tensor) for tensor in operator.inputs]
            yield f"inputs of {place_of(operator)}", inputs
            yield f"outputs of {place_of(operator)}", operator.outputs
        yield "outputs of the graph", [self._origin_of(tensor) for tensor in self._model.outputs]


def _moved_kinds(old: Sequence[Operator], new: Sequence[Operator]) -> Moved | None:
    for was, now in zip(old, new, strict=False):
        if was.name != now.name:
            return Moved(f"operator {was.index}", was.name, now.name)
    if len(old) != len(new):
        return Moved("number of operators", str(len(old)), str(len(new)))
    return None
