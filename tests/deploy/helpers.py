"""What several tests of deploy use: the program itself, and a bundle to send."""

import hashlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

from contract.artifacts import Accuracy, BundleManifest, Calibration, FileEntry, TensorSpec
from contract.codec import encode

START_TIMEOUT_S = 20
MODEL_BYTES = 50_000


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
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "model": ("model.tflite", (b"0123456789abcdef" * (model_bytes // 16 + 1))[:model_bytes]),
        "labels": ("labels.txt", b"cat\ndog\n"),
        "preprocessing": ("preprocessing.json", b"{}"),
        "golden": ("golden.npz", b"golden" * 100),
        "report": ("report.json", b"{}"),
    }
    entries = {}
    for role, (name, data) in contents.items():
        (folder / name).write_bytes(data)
        entries[role] = FileEntry(name, len(data), hashlib.sha256(data).hexdigest())
    manifest = BundleManifest(
        name="toy",
        version=version,
        fallback=None,
        inputs=(TensorSpec("in", (1, 28, 28, 1), "uint8", 1 / 255, 0),),
        outputs=(TensorSpec("out", (1, 2), "uint8", 1 / 256, 0),),
        compiled=False,
        reweighted=False,
        minimum_runtime="2.5.0",
        accuracy=Accuracy(0.9, 0.9, 100),
        calibration=Calibration(10, 0),
        **entries,
    )
    (folder / "manifest.json").write_bytes(encode(manifest))
    return folder
