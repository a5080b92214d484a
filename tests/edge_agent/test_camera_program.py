"""Promises of edge_agent.sources.camera_program."""

import sys
from typing import Any, Tuple

import pytest

from edge_agent.source_config import SourceConfig
from edge_agent.sources import camera_program
from edge_agent.sources.camera_program import build_command
from edge_agent.sources.stream import StreamLost


def build(device: str, **settings: Any) -> Tuple[str, ...]:
    return build_command(SourceConfig(kind="camera", device=device, **settings))


@pytest.mark.parametrize(
    ("device", "start"),
    [
        ("/dev/video1", ("v4l2src", "device=/dev/video1")),
        ("/tmp/a film.avi", ("filesrc", "location=/tmp/a film.avi", "!", "decodebin")),
        ("videotestsrc pattern=ball ! identity", ("videotestsrc", "pattern=ball", "!", "identity")),
    ],
)
def test_a_pipeline_begins_with_the_device(device: str, start: Tuple[str, ...]) -> None:
    """A camera, a file, or elements; size and pace follow. No shell reads any of it."""
    command = build(device, backend="gstreamer", width=320, height=200, fps=7)
    assert command[: 2 + len(start)] == ("gst-launch-1.0", "-q", *start)
    assert "max-rate=7" in command and any("width=320,height=200" in each for each in command)


def test_opencv_is_our_own_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in a process of its own, like GStreamer's."""
    command = build("/dev/video0", backend="opencv", width=320, height=200, fps=7)
    assert command == (sys.executable, "-m", "edge_agent.sources.opencv", "/dev/video0", "320", "200", "7")


@pytest.mark.parametrize(
    ("gstreamer", "opencv", "program"),
    [("/usr/bin/gst", None, "gst-launch-1.0"), (None, object(), sys.executable)],
)
def test_what_is_installed_is_taken(monkeypatch: Any, gstreamer: Any, opencv: Any, program: str) -> None:
    """GStreamer first: it needs no Python package, and a board has it."""
    monkeypatch.setattr(camera_program.shutil, "which", lambda _name: gstreamer)
    monkeypatch.setattr(camera_program.importlib.util, "find_spec", lambda _name: opencv)
    assert build("/dev/video0")[0] == program


def test_without_either_the_camera_is_lost(monkeypatch: Any) -> None:
    """The reason says what to install."""
    monkeypatch.setattr(camera_program.shutil, "which", lambda _name: None)
    monkeypatch.setattr(camera_program.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(StreamLost, match="neither GStreamer nor OpenCV"):
        build("/dev/video0")


def test_a_text_that_is_no_pipeline_is_told() -> None:
    """No traceback for a quotation mark too few."""
    with pytest.raises(StreamLost, match="no pipeline"):
        build('videotestsrc name="x', backend="gstreamer")
