"""What a .tflite file holds, as frozen dataclasses: tensors, operators, inputs, outputs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

EDGETPU_OP = "CUSTOM:edgetpu-custom-op"

# Axes, paddings, strides: what rules read of a constant is short, whatever a stranger's file says.
MAX_INTEGERS = 64
_SHOWN_NAME = 80


def make_printable(text: str) -> str:
    """Replace what could steer a terminal: names from a stranger's file end up on one."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


@dataclass(frozen=True)
class Tensor:
    """One tensor; `scales` and `zero_points` are empty if it is not quantized.

    `shape` is what the runtime allocates, `signature` what the file promises: -1 where the size is open.
    `zero_point` is the first of `zero_points`; with several scales `quantized_dimension` is the axis they
    belong to. `data` is a read-only view of a constant's bytes, None for activations. `data_start` and
    `scales_start` say where bytes and scales begin in the file, -1 if there are none.
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
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    data_start: int = field(default=-1, compare=False)
    scales_start: int = field(default=-1, compare=False)

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

    @cached_property
    def has_equal_scales(self) -> bool:
        """Say whether all channels have the same scale, or there is only one."""
        return len(set(self.scales)) <= 1

    @cached_property
    def has_equal_zero_points(self) -> bool:
        """Say whether all channels have the same zero point, or there is only one."""
        return len(set(self.zero_points)) <= 1

    @property
    def elements(self) -> int:
        """Return how many values it holds."""
        return math.prod(self.shape)

    @property
    def is_zero(self) -> bool:
        """Say whether it is an 8-bit constant that stands for zeros only."""
        kind = {"INT8": np.int8, "UINT8": np.uint8}.get(self.dtype)
        return (
            self.data is not None
            and kind is not None
            and bool((self.data.view(kind) == self.zero_point).all())
        )

    @property
    def short_name(self) -> str:
        """Return the first of the names that a converter joined, cut to what a line can show."""
        name = self.name.split(";")[0]
        return name if len(name) <= _SHOWN_NAME else name[: _SHOWN_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"

    def integers(self) -> tuple[int, ...]:
        """Return a constant int32 tensor's values, such as axes; empty if it is nothing of the kind."""
        if (
            self.data is None
            or self.dtype != "INT32"
            or len(self.data) % 4
            or len(self.data) > 4 * MAX_INTEGERS
        ):
            return ()
        return tuple(int(value) for value in self.data.view("<i4"))


@dataclass(frozen=True)
class Operator:
    """One operator; an absent optional input is None. Custom ones are named `CUSTOM:name`.

    `options` are all that the schema has for its kind, by the names of the getters (see tflite_options).
    `custom_options` are a custom operator's bytes, which begin at `custom_start` in the file (-1: none).
    """

    index: int
    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]
    custom_options: memoryview = field(default=memoryview(b""), repr=False, compare=False)
    custom_start: int = field(default=-1, compare=False)

    @property
    def tensor(self) -> str:
        """Return the name of what it produces."""
        return self.outputs[0].name if self.outputs else ""

    @property
    def short_tensor(self) -> str:
        """Return the same in a form that fits into a line."""
        return self.outputs[0].short_name if self.outputs else ""

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
