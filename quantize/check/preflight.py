"""Will it map? Brings the rules together into one report about a .tflite file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantize.check.mapping import place
from quantize.check.memory import Memory, estimate_memory
from quantize.check.op_rules import MAPPED, Placement
from quantize.check.requirements import DYNAMIC, Violation, find_load_failures
from quantize.tflite_model import Operator, TfliteModel

VERSION_NOT_SUPPORTED = "Operation version not supported"
STATIC_ONLY = "Attempting to use a delegate that only supports static-sized tensors"


@dataclass(frozen=True)
class Check:
    """What the compiler would make of a file, operator by operator. `errors` would stop it altogether."""

    operators: tuple[Operator, ...]
    placements: tuple[Placement, ...]
    memory: Memory
    errors: tuple[str, ...]

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
            },
            "activation_bytes_per_tile": self.memory.activation_bytes_per_tile,
            "errors": list(self.errors),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per operator, in the order of the file."""
        return [
            _row(operator, placement)
            for operator, placement in zip(self.operators, self.placements, strict=True)
        ]

    def to_text(self) -> str:
        """Return the same for a person: one line per operator, then what stands in the way."""
        lines = [_line(row) for row in self.rows()]
        lines.append(f"{self.tpu_ops} operators for the Edge TPU, {self.cpu_ops} for the CPU")
        lines.extend(f"error: {error}" for error in self.errors)
        return "\n".join(lines)


def check(model: TfliteModel) -> Check:
    """Predict what the Edge TPU compiler does with a model. Nothing is run."""
    failures = find_load_failures(model)
    stopped = {violation.index: violation for violation in failures}
    placements = tuple(
        _refused(operator, stopped[operator.index]) if operator.index in stopped else placement
        for operator, placement in zip(model.operators, place(model), strict=True)
    )
    errors = [f"{violation}; try: {violation.fix}" for violation in failures]
    if model.is_compiled:
        errors = ["this file has already been through the Edge TPU compiler; give the original"]
    elif not errors and all(placement.target == "cpu" for placement in placements):
        errors = ["no operator would run on the Edge TPU; quantize the whole model to int8"]
    return Check(model.operators, placements, estimate_memory(model, placements), tuple(errors))


def _refused(operator: Operator, violation: Violation) -> Placement:
    status = STATIC_ONLY if violation.what == DYNAMIC else VERSION_NOT_SUPPORTED
    return Placement("cpu", status, violation.what, violation.fix)


def _row(operator: Operator, placement: Placement) -> dict[str, Any]:
    return {
        "index": operator.index,
        "op": operator.name,
        "version": operator.version,
        "tensor": operator.tensor,
        "layer": find_layer(operator.tensor),
        "target": placement.target,
        "status": placement.status,
        "reason": placement.reason,
        "fix": placement.fix,
    }


def find_layer(tensor: str) -> str | None:
    """Return the layer that a tensor name tells of (`model/conv2d_1/Relu;...` -> `conv2d_1`), if any."""
    parts = tensor.split(";")[0].split("/")
    return parts[-2] if len(parts) > 1 else None


def _line(row: Mapping[str, Any]) -> str:
    head = f"{row['index']:>4}  {row['target']}  {row['op']:<28} v{row['version']:<3}"
    if row["status"] == MAPPED:
        return f"{head} {row['status']}"
    return f"{head} {row['status']}: {row['reason']}; try: {row['fix']} [{row['layer'] or row['tensor']}]"
