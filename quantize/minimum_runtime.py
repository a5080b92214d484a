"""The oldest TensorFlow Lite that runs a file: what the converter wrote into it, and what was tried."""

import re

import tflite

# Below this nobody looked: every file is checked against the operators that TensorFlow Lite 2.5 reads, and
# its golden samples are answered by that version where one is given.
OLDEST_TRIED = "2.5.0"

_FIELD = b"min_runtime_version"


def name_minimum_runtime(content: bytes) -> str:
    """Return the version of TensorFlow Lite, such as `2.5.0`, that a converted file needs at least.

    Source: the converter's metadata, which it computes from each operator's version. A runtime that reads an
    operator need not answer rightly, hence the floor.
    """
    model = tflite.Model.GetRootAs(content, 0)
    entries = (model.Metadata(number) for number in range(model.MetadataLength()))
    found = next((model.Buffers(entry.Buffer()) for entry in entries if entry.Name() == _FIELD), None)
    written = bytes(found.DataAsNumpy()).rstrip(b"\0").decode("ascii", "replace") if found else ""
    return max(OLDEST_TRIED, written, key=_as_numbers)


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version))
