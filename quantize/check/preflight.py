"""Will it map? Brings the rules together into one report about a .tflite file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quantize.check.layers import name_layers, tell_places
from quantize.check.mapping import place
from quantize.check.memory import Memory, estimate_memory
from quantize.check.placement import NO_BLOCKER, NOT_SUPPORTED, VERSION_NOT_SUPPORTED, Placement
from quantize.check.requirements import (
    DYNAMIC,
    STATIC_ONLY,
    Violation,
    find_load_failures,
    find_silent_failures,
)
from quantize.tflite_model import EDGETPU_OP, Operator, TfliteModel

# The largest figure in compiled files is just under it: 16 tiles with 192 KiB for activations each.
ACTIVATION_LIMIT_BYTES_PER_TILE = 192 * 1024


@dataclass(frozen=True)
class Check:
    """What the compiler would make of a file, operator by operator.

    `layers` has each operator's Keras layer, None where no name tells it; `places` say where it is all the
    same. `first_blocking` is the operator to replace first, None if all run on the Edge TPU. `errors` would
    stop the compiler altogether, or leave nothing for the Edge TPU; `warnings` would not.
    """

    operators: tuple[Operator, ...]
    placements: tuple[Placement, ...]
    layers: tuple[str | None, ...]
    places: tuple[str, ...]
    first_blocking: int | None
    memory: Memory
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def tpu_ops(self) -> int:
        """Count the operators that will run on the Edge TPU."""
        return sum(placement.target == "tpu" for placement in self.placements)

    @property
    def cpu_ops(self) -> int:
        """Count the operators that stay on the CPU."""
        return len(self.placements) - self.tpu_ops

    @property
    def would_compile(self) -> bool:
        """Say whether the compiler is expected to produce a file with something in it for the Edge TPU."""
        return not self.errors

    @property
    def advice(self) -> str:
        """Return what to do first, empty if there is nothing to do."""
        if self.is_compiled:
            return "give the original, or look at this one with quantize inspect"
        return "" if self.first_blocking is None else self.placements[self.first_blocking].fix

    @property
    def is_compiled(self) -> bool:
        """Say whether it is the compiler's own output, for which there is nothing to predict."""
        return any(operator.name == EDGETPU_OP for operator in self.operators)

    def count_blocked(self, index: int) -> int:
        """Count the operators that an operator keeps from the Edge TPU."""
        return sum(placement.blocker == index for placement in self.placements)

    def to_json(self) -> dict[str, Any]:
        """Return what `quantize check --json` prints."""
        return {
            "ok": self.would_compile,
            "would_compile": self.would_compile,
            "ops": self.rows(),
            "subgraphs": min(self.tpu_ops, 1),
            "parameters": {
                "on_chip_bytes": self.memory.on_chip_bytes,
                "streamed_bytes": self.memory.streamed_bytes,
                "split_is_estimate": not self.memory.fits,
                "ops_of_unknown_size": list(self.memory.unknown),
            },
            "activation_bytes_per_tile": self.memory.activation_bytes_per_tile,
            "activation_limit_bytes_per_tile": ACTIVATION_LIMIT_BYTES_PER_TILE,
            "first_blocking": self._first_blocking_row(),
            "errors": list(self.errors),
            "warnings": list(self.warnings),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per operator, in the order of the file."""
        return [self.row(index) for index in range(len(self.operators))]

    def row(self, index: int) -> dict[str, Any]:
        """Return what there is to say about one operator."""
        operator, placement = self.operators[index], self.placements[index]
        return {
            "index": operator.index,
            "op": operator.name,
            "version": operator.version,
            "tensor": operator.tensor,
            "layer": self.layers[index],
            "place": self.places[index],
            "target": placement.target,
            "status": placement.status,
            "reason": placement.reason,
            "fix": placement.fix,
        }

    def _first_blocking_row(self) -> dict[str, Any] | None:
        index = self.first_blocking
        return None if index is None else {**self.row(index), "blocks": self.count_blocked(index)}


def check(model: TfliteModel) -> Check:
    """Predict what the Edge TPU compiler does with a model. Nothing is run."""
    failures = () if model.is_compiled else find_load_failures(model)
    placements = _refuse(model, place(model), failures)
    memory = estimate_memory(model, placements)
    layers = name_layers(model)
    return Check(
        operators=model.operators,
        placements=placements,
        layers=layers,
        places=tell_places(model.operators, layers),
        first_blocking=_find_first_blocking(placements, failures),
        memory=memory,
        errors=_find_errors(model, placements, failures),
        warnings=tuple(_find_warnings(model, memory)),
    )


def _refuse(
    model: TfliteModel, placements: tuple[Placement, ...], failures: tuple[Violation, ...]
) -> tuple[Placement, ...]:
    """Put what the compiler cannot even load on the CPU, in the words that it has for it."""
    refused = {failure.index: failure for failure in failures}
    return tuple(
        _refused(refused[operator.index]) if operator.index in refused else placement
        for operator, placement in zip(model.operators, placements, strict=True)
    )


def _refused(failure: Violation) -> Placement:
    if failure.what == DYNAMIC:
        status = STATIC_ONLY
    else:
        status = NOT_SUPPORTED if failure.op.startswith("CUSTOM:") else VERSION_NOT_SUPPORTED
    return Placement("cpu", status, failure.what, failure.fix)


def _find_first_blocking(placements: tuple[Placement, ...], failures: tuple[Violation, ...]) -> int | None:
    """Return what stops the compiler; else the first operator that keeps others from the Edge TPU.

    Where none does, return the first one that stays on the CPU.
    """
    if failures:
        return min(failure.index for failure in failures)
    blocking = [placement.blocker for placement in placements if placement.blocker != NO_BLOCKER]
    staying = (index for index, placement in enumerate(placements) if placement.target == "cpu")
    return min(blocking, default=next(staying, None))


def _find_errors(
    model: TfliteModel, placements: tuple[Placement, ...], failures: tuple[Violation, ...]
) -> tuple[str, ...]:
    if model.is_compiled:
        return ("this file has already been through the Edge TPU compiler",)
    if failures:
        return tuple(f"{failure.words}: {failure}" for failure in failures)
    if all(placement.target == "cpu" for placement in placements):
        floats = any(tensor.dtype.startswith("FLOAT") for tensor in model.tensors)
        why = "the model computes with floats" if floats else "it would compile, but nothing is mapped"
        return (f"no operator would run on the Edge TPU: {why}",)
    return ()


def _find_warnings(model: TfliteModel, memory: Memory) -> Iterator[str]:
    if memory.activation_bytes_per_tile > ACTIVATION_LIMIT_BYTES_PER_TILE:
        yield (
            f"activations are estimated at {memory.activation_bytes_per_tile:,} bytes a tile, there are "
            f"{ACTIVATION_LIMIT_BYTES_PER_TILE:,}: the compiler has to split them, and may fail (large "
            "activation tensors); try: smaller pictures or fewer channels in the first layers"
        )
    if memory.streamed_bytes:
        yield (
            f"{memory.streamed_bytes:,} bytes of parameters are not kept on the chip but streamed at every "
            "inference; try: a smaller model, or dense layers with fewer inputs"
        )
    for violation in find_silent_failures(model):
        yield f"{violation}; try: {violation.fix}"
