"""What a person asks `quantize` for: the inputs, the options and the gates, checked by the command line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """What to quantize, with what, and how strictly.

    Inputs: `model` (.keras), `data` (.npz), `labels` (one a line), `template` (an original .tflite and its
    compiled form). `pixels` is what their 0 to 255 becomes, of data.PIXEL_RANGES; None: as run.json says, or
    0..1. Gates: `max_drop` and `max_class_drop` (shares, 0 to 1), `cpu_ops` (forbid, warn, allow).
    `io` is the dtype of input and output; a template keeps its own.
    `min_runtime` is the Edge TPU runtime version to compile for, 10 to 14. `oldest_runtime` is a Python with
    TensorFlow Lite 2.5 that answers the golden samples too. `report` is a place for a copy of report.html.
    """

    model: Path
    data: Path
    out: Path
    labels: Path | None = None
    pixels: str | None = None
    calibration_samples: int = 200
    seed: int = 0
    io: str = "uint8"
    max_drop: float = 0.01
    max_class_drop: float = 0.05
    cpu_ops: str = "warn"
    compile: str = "auto"
    template: tuple[Path, Path] | None = None
    min_runtime: int | None = None
    oldest_runtime: Path | None = None
    report: Path | None = None
    version: str | None = None
