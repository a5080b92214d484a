"""Tells what is in a .tflite file, and in its compiled part if it has one, for people and as JSON."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from quantize.edgetpu.package import CompiledModel, Executable, read_compiled
from quantize.tflite_file import parse_tflite, read_model_file
from quantize.tflite_model import Tensor, TfliteModel

_WIDTH = 80


@dataclass(frozen=True)
class Inspection:
    """A file's graph, and what the Edge TPU compiler made of it: None for an original."""

    graph: TfliteModel
    compiled: CompiledModel | None

    def to_json(self) -> dict[str, Any]:
        """Return what `quantize inspect --json` prints. Caching tokens are hexadecimal strings."""
        return {
            "kind": "compiled" if self.compiled else "original",
            "inputs": [_describe(tensor) for tensor in self.graph.inputs],
            "outputs": [_describe(tensor) for tensor in self.graph.outputs],
            "ops": [
                {"index": operator.index, "op": operator.name, "version": operator.version}
                for operator in self.graph.operators
            ],
            "edgetpu": _describe_compiled(self.compiled) if self.compiled else None,
        }

    def to_text(self) -> str:
        """Return the same for a person, at most 80 columns wide."""
        lines = ["compiled for the Edge TPU" if self.compiled else "original, not compiled"]
        for role, tensors in (("input", self.graph.inputs), ("output", self.graph.outputs)):
            lines.extend(f"{role:<8}{_tensor_line(tensor)}" for tensor in tensors)
        if self.compiled:
            lines.extend(_compiled_lines(self.compiled))
        lines.append("operators:")
        lines.extend(f"  {op.index:>4}  {op.name}  v{op.version}" for op in self.graph.operators)
        return "\n".join(line[:_WIDTH] for line in lines)


def inspect(path: Path) -> Inspection:
    """Look into a .tflite file.

    Raises:
        WrongUsage: it is not there, not a .tflite file, or damaged.
    """
    content = read_model_file(path)
    graph = parse_tflite(content, str(path))
    return Inspection(graph, read_compiled(content, str(path)) if graph.is_compiled else None)


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.lower(),
        "scale": tensor.scales[0] if tensor.scales else None,
        "zero_point": tensor.zero_point if tensor.scales else None,
    }


def _describe_compiled(compiled: CompiledModel) -> dict[str, Any]:
    first = compiled.packages[0]
    return {
        "compiler": first.compiler,
        "min_runtime": max(package.min_runtime for package in compiled.packages),
        "executables": [_describe_executable(entry) for entry in compiled.executables],
        "cpu_ops": [{"index": operator.index, "op": operator.name} for operator in compiled.cpu_ops],
    }


def _describe_executable(executable: Executable) -> dict[str, Any]:
    return {
        "type": executable.type,
        "parameter_bytes": executable.parameters.size,
        "instruction_bytes": executable.instruction_bytes,
        "token": f"0x{executable.token:016x}",
        "estimated_cycles": executable.estimated_cycles,
        "narrow_memory_bytes_per_tile": executable.narrow_memory_bytes_per_tile,
        "scratch_bytes": executable.scratch_bytes,
        "chip": executable.chip,
    }


def _tensor_line(tensor: Tensor) -> str:
    size = "x".join(str(side) for side in tensor.shape) or "scalar"
    scale = (
        f"scale {tensor.scales[0]:.6g} zero point {tensor.zero_point}" if tensor.scales else "not quantized"
    )
    return f"{tensor.dtype.lower()} {size}  {scale}  {tensor.name}"


def _compiled_lines(compiled: CompiledModel) -> list[str]:
    about = _describe_compiled(compiled)
    lines = [
        f"compiler {about['compiler']}, needs runtime {about['min_runtime']} or newer",
        f"{'executable':<18}{'parameters':>12}{'instructions':>14}  caching token",
    ]
    for entry in about["executables"]:
        sizes = f"{entry['parameter_bytes']:>12,}{entry['instruction_bytes']:>14,}"
        lines.append(f"{entry['type']:<18}{sizes}  {entry['token']}")
    left = ", ".join(f"{operator.index} {operator.name}" for operator in compiled.cpu_ops)
    return [*lines, *wrap(f"left to the CPU: {left or 'nothing'}", _WIDTH, subsequent_indent="  ")]
