"""What the tests of the inference rooms share: a tiny real model and the events of a worker."""

import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from contract.artifacts import Preprocessing
from contract.codec import decode
from edge_agent.inference import device_reset
from edge_agent.inference.workers import ModelFiles
from tests.fakes.faulty import FaultyRuntime
from tests.fakes.mosquitto import Mosquitto

DATA = Path(__file__).resolve().parent / "data"
DELEGATE_SOURCE = """
#include <stdlib.h>
/* The start of TfLiteDelegate, tensorflow/lite/core/c/common.h; what follows may be zero. */
struct delegate { void *data; int (*prepare)(void *, struct delegate *); char more[240]; };
static int prepare(void *context, struct delegate *self) { return 0; }
static void *create_idle(void) {
    struct delegate *made = calloc(1, sizeof *made);
    made->prepare = prepare;
    return made;
}
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void *tell) { %s }
void tflite_plugin_destroy_delegate(void *made) { free(made); }
"""


@pytest.fixture
def tiny_files() -> ModelFiles:
    """A real int8 model, 28x28 grey in, ten classes out."""
    return ModelFiles(
        model=DATA / "tiny.tflite",
        labels=DATA / "tiny_labels.txt",
        preprocessing=DATA / "tiny_preprocessing.json",
        golden=DATA / "tiny_golden.npz",
    )


@pytest.fixture
def detector_files() -> ModelFiles:
    """A real detector of red and blue squares, 64x64 RGB in."""
    return ModelFiles(
        model=DATA / "detector.tflite",
        labels=DATA / "detector_labels.txt",
        preprocessing=DATA / "detector_preprocessing.json",
        golden=DATA / "detector_golden.npz",
    )


@pytest.fixture
def tiny_labels(tiny_files):
    return tuple(tiny_files.labels.read_text(encoding="utf-8").split())


@pytest.fixture
def tiny_preprocessing(tiny_files) -> Preprocessing:
    return decode(Preprocessing, tiny_files.preprocessing.read_bytes())


@pytest.fixture
def golden(tiny_files):
    """Return the golden samples: inputs (20, 28, 28, 1) uint8, outputs (20, 10) uint8."""
    import numpy as np

    with np.load(str(tiny_files.golden)) as arrays:
        return arrays["inputs"], arrays["outputs"]


@pytest.fixture
def edgetpu_library(tmp_path, monkeypatch):
    """Build a delegate library whose `tflite_plugin_create_delegate` has this body; processes find it."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler to build a delegate library with")

    def build(body):
        folder = tmp_path / "library"
        folder.mkdir()
        (folder / "delegate.c").write_text(DELEGATE_SOURCE % body)
        command = ["gcc", "-shared", "-fPIC", "-o", "libedgetpu.so.1", "delegate.c"]
        subprocess.run(command, cwd=str(folder), check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))

    return build


@pytest.fixture
def broker(tmp_path: Path) -> "Iterator[Callable[..., int]]":
    """Start a real mosquitto with these settings, and return its port."""
    started = []

    def start(rights: str = "topic readwrite coral/#", anonymous: str = "true", more: str = "") -> int:
        (tmp_path / "acl").write_text(rights + "\n")
        lines = (f"allow_anonymous {anonymous}", f"acl_file {tmp_path}/acl", more)
        started.append(Mosquitto(tmp_path, *lines, keeps=False).start())
        return started[-1].port

    yield start
    for mosquitto in started:
        mosquitto.stop()


@pytest.fixture
def events():
    """A queue that a worker can post to."""
    return queue.Queue()


@pytest.fixture
def no_thread_left():
    """Fail the test if a thread that it started is still there at its end."""
    before = set(threading.enumerate())
    yield
    until_s = time.monotonic() + 3
    while set(threading.enumerate()) - before and time.monotonic() < until_s:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultyRuntime:
    """The runtime that misbehaves when told; all inference processes of the test find it."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler to build a delegate library with")
    runtime = FaultyRuntime(tmp_path / "runtime")
    for name, value in runtime.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(device_reset, "_RESET", str(runtime.reset_file))
    return runtime
