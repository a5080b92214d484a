"""What several tests of deploy use: the program itself, and a bundle to send."""

import hashlib
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from contract.artifacts import Accuracy, BundleManifest, Calibration, FileEntry, TensorSpec
from contract.codec import encode
from tests.fakes.publisher import tiny_files

START_TIMEOUT_S = 20
MODEL_BYTES = 50_000
_INPUTS = (TensorSpec("in", (1, 28, 28, 1), "uint8", 1 / 255, 0),)
_NAMES = {
    "model": "model.tflite",
    "labels": "labels.txt",
    "preprocessing": "preprocessing.json",
    "golden": "golden.npz",
    "report": "report.json",
}


def run_deploy(*arguments: str) -> subprocess.Popen:
    """Start `deploy` as a user would."""
    code = "import sys; from deploy.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def read_line(stream, timeout_s: float = START_TIMEOUT_S) -> str:
    """Read one line, or fail when it does not come."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(timeout_s)
    assert lines and lines[0], "the program said nothing"
    return lines[0]


def stop(process: subprocess.Popen) -> tuple[str, str]:
    """End a program with SIGTERM and return the rest of its output."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=START_TIMEOUT_S)
    finally:
        process.kill()


def write_bundle(folder: Path, *, model_bytes: int = MODEL_BYTES, version: str = "1") -> Path:
    """Write a bundle as quantize would; the bytes of the model are not a model."""
    contents = {
        "model": (b"0123456789abcdef" * (model_bytes // 16 + 1))[:model_bytes],
        "labels": b"cat\ndog\n",
        "preprocessing": b"{}",
        "golden": b"golden" * 100,
    }
    outputs = (TensorSpec("out", (1, 2), "uint8", 1 / 256, 0),)
    return _write(folder, contents, name="toy", version=version, inputs=_INPUTS, outputs=outputs)


def write_tiny_bundle(folder: Path, version: str, *, padding: bytes = b"") -> Path:
    """Write a bundle of a small real model, with labels of its own; `padding` makes it larger."""
    contents = tiny_files()
    contents["model"] += padding
    contents["labels"] = contents["labels"].replace(b"\n", version.encode() + b"\n")
    outputs = (TensorSpec("out", (1, 10), "uint8", 1 / 256, 0),)
    return _write(folder, contents, name="tiny", version=version, inputs=_INPUTS, outputs=outputs)


def _write(folder: Path, contents: dict[str, bytes], **about: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for role, data in {**contents, "report": b"{}"}.items():
        (folder / _NAMES[role]).write_bytes(data)
        entries[role] = FileEntry(_NAMES[role], len(data), hashlib.sha256(data).hexdigest())
    manifest = BundleManifest(
        fallback=None,
        compiled=False,
        reweighted=False,
        minimum_runtime="2.5.0",
        accuracy=Accuracy(0.9, 0.9, 100),
        calibration=Calibration(10, 0),
        **about,
        **entries,
    )
    (folder / "manifest.json").write_bytes(encode(manifest))
    return folder
