"""The ways edgetpu_compiler is known to fail: what each one means, and what to do. Pure text."""

import re
from dataclasses import dataclass

INTERNAL = "Internal compiler error"

_LOOK = "--compile never, then quantize check on the bundle's model.tflite"
_REASON_CHARACTERS = 160


@dataclass(frozen=True)
class Failure:
    """Why the compiler gave up, and what a person can do about it."""

    what: str
    hint: str


# First match wins. Each text is followed, in the compiler's output, by general ones.
# Source: the texts that users reported with their models; the last one is printed without any reason.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"Didn't find op for builtin opcode '(?P<op>\w+)' version '(?P<version>\d+)'",
        "the compiler knows no {op} of version {version}",
        f"{_LOOK}: it names the layer and its replacement",
    ),
    (
        r"Op builtin_code out of range",
        "an operator is newer than the compiler",
        f"{_LOOK}: it names the layer and its replacement",
    ),
    (
        r"only supports static-sized tensors",
        "a size is open, mostly the batch",
        "build the model with keras.Input(..., batch_size=1) and fixed sizes",
    ),
    (
        r"unresolved custom op: (?P<op>[\w-]+)",
        "the compiler does not know the custom operator {op}",
        "build that step from layers that TensorFlow Lite has operators for",
    ),
    (
        r"due to large activation tensors",
        "what flows between the layers is too large for the Edge TPU",
        "smaller pictures, or fewer channels in the first layers",
    ),
    (
        INTERNAL,
        "internal compiler error, every time it was tried",
        "run it again, or ask for an older runtime: --min-runtime-version 13",
    ),
    (
        r"Invalid model|Model could not be parsed",
        "the compiler cannot read the model",
        _LOOK,
    ),
    (
        r"Model failed in Tflite interpreter",
        "the compiler's interpreter does not run the model",
        _LOOK,
    ),
    (
        r"Compilation failed! *$",
        "the compiler gives no reason",
        f"{_LOOK}; models of one or two operators are known for this",
    ),
)


def explain(said: str, code: int) -> Failure:
    """Tell why a compilation failed, from what the compiler printed and the code it ended with."""
    for pattern, what, hint in _KNOWN:
        found = re.search(pattern, said, re.MULTILINE)
        if found:
            return Failure(what.format(**found.groupdict()), hint)
    said_last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "nothing")
    return Failure(f"it ended with code {code}, saying: {said_last}"[:_REASON_CHARACTERS], _LOOK)
