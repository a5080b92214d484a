"""What a .tflite file holds, as frozen dataclasses: tensors, operators, inputs, outputs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

EDGETPU_OP = "CUSTOM:edgetpu-custom-op"


@dataclass(frozen=True)
class Tensor:
    """One tensor; `scales` is empty if it is not quantized.

    `shape` is what the runtime allocates, `signature` what the file promises: -1 where the size is open.
    `data` is a read-only view of a constant's bytes, None for activations.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    scales: tuple[float, ...]
    zero_point: int
    is_variable: bool
    data: "np.ndarray[Any, np.dtype[np.uint8]] | None" = field(default=None, repr=False, compare=False)

    @property
    def is_constant(self) -> bool:
        """Say whether the value lies in the file."""
        return self.data is not None

    @property
    def is_static(self) -> bool:
        """Say whether the file fixes every size."""
        return all(size >= 0 for size in (*self.shape, *self.signature))

    @property
    def is_per_channel(self) -> bool:
        """Say whether each output channel has its own scale."""
        return len(self.scales) > 1

    @property
    def elements(self) -> int:
        """Return how many values it holds."""
        return math.prod(self.shape)

    def integers(self) -> tuple[int, ...]:
        """Return a constant int32 tensor's values, such as axes; empty if it is nothing of the kind."""
        if self.data is None or self.dtype != "INT32" or len(self.data) % 4:
            return ()
        return tuple(int(value) for value in self.data.view("<i4"))


@dataclass(frozen=True)
class Operator:
    """One operator; an absent optional input is None. Custom ones are named `CUSTOM:name`."""

    index: int
    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, int]

    @property
    def tensor(self) -> str:
        """Return the name of what it produces."""
        return self.outputs[0].name if self.outputs else ""

    @property
    def present(self) -> tuple[Tensor, ...]:
        """Return the inputs that are there."""
        return tuple(tensor for tensor in self.inputs if tensor is not None)


@dataclass(frozen=True)
class TfliteModel:
    """The main graph of a file. `opcodes` also lists (name, version) pairs that no operator uses."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opcodes: tuple[tuple[str, int], ...]

    @property
    def is_compiled(self) -> bool:
        """Say whether it has been through the Edge TPU compiler."""
        return any(name == EDGETPU_OP for name, _ in self.opcodes)
