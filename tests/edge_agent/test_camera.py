"""Promises of edge_agent.sources.camera and opencv: GStreamer's test picture, a video file, bad programs."""

import importlib.util
import queue
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from contract.messages import Problem
from edge_agent.events import IMAGE, InferenceAsked
from edge_agent.source_config import SourceConfig
from edge_agent.sources import camera as camera_module
from edge_agent.sources.camera import MAX_PAUSE_S, Camera, next_pause_s
from tests.edge_agent.test_publish_modes import predict
from tests.edge_agent.test_stream import HELPERS

PATIENCE_S = 20.0
CAT = predict("cat")
GENERATED = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=64,height=48,framerate=30/1"
needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="needs gstreamer1.0-tools and -plugins-good"
)
needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="needs opencv-python-headless"
)


class Watched:
    """A camera, and where its questions wait for an answer."""

    def __init__(self, silent_s: float, **settings: Any) -> None:
        self.asked: queue.Queue[InferenceAsked] = queue.Queue()
        config = SourceConfig(kind="camera", **settings)
        self.camera = Camera("door", config, self.asked.put, silent_s)
        self.camera.start()

    def next(self) -> InferenceAsked:
        return self.asked.get(timeout=PATIENCE_S)

    def wait_for_problem(self) -> Problem:
        until_s = time.monotonic() + PATIENCE_S
        while self.camera.problem is None and time.monotonic() < until_s:
            time.sleep(0.01)
        assert self.camera.problem is not None
        return self.camera.problem


@pytest.fixture
def watch(no_thread_left: None) -> Iterator[Callable[..., Watched]]:
    """Start a camera."""
    started: List[Watched] = []

    def start(silent_s: float = PATIENCE_S, **settings: Any) -> Watched:
        started.append(Watched(silent_s, **settings))
        return started[-1]

    yield start
    for each in started:
        each.camera.stop()
    for each in started:
        each.camera.join()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let another program be the camera; `run` counts its runs."""

    def become(body: str) -> None:
        command = (sys.executable, "-c", HELPERS + body)
        monkeypatch.setattr(camera_module, "build_command", lambda _config: command)
        monkeypatch.setattr(camera_module, "MIN_PAUSE_S", 0.05)

    return become


def size_of(picture: bytes) -> "tuple[int, int]":
    image = pytest.importorskip("PIL.Image", reason="needs Pillow to look at a picture")
    import io

    with image.open(io.BytesIO(picture), formats=("JPEG",)) as opened:
        opened.load()
        found: tuple[int, int] = opened.size
        return found


@needs_gstreamer
def test_a_generated_stream_is_asked_about(watch: Callable[..., Watched]) -> None:
    """JPEG pictures of the size that was wanted, one question at a time."""
    watched = watch(device=GENERATED, width=96, height=64, fps=30)
    pictures = []
    for _ in range(3):
        asked = watched.next()
        assert (asked.kind, asked.source, asked.model) == (IMAGE, "door", "")
        assert watched.asked.empty()
        pictures.append(asked.payload)
        asked.answer(CAT)
    assert {size_of(picture) for picture in pictures} == {(96, 64)}
    assert len(set(pictures)) == 3 and watched.camera.problem is None


@needs_gstreamer
def test_a_camera_that_is_not_there_is_a_problem(watch: Callable[..., Watched]) -> None:
    """With GStreamer's own words."""
    problem = watch(device="/dev/video-none", backend="gstreamer").wait_for_problem()
    assert problem.code == "camera_lost" and "video-none" in problem.message


def test_a_cameras_password_is_not_told(watch: Callable[..., Watched]) -> None:
    """A problem goes to telemetry, which many may read."""
    problem = watch(device="no-such-element location=rtsp://me:s3cret@cam/1").wait_for_problem()
    assert problem.code == "camera_lost" and "s3cret" not in problem.message


def shoot(film: Path, levels: List[int]) -> None:
    """Write a film of grey pictures, 64 x 48."""
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 30, (64, 48))
    for level in levels:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()


@needs_opencv
def test_a_video_file_is_asked_about_with_opencv(watch: Callable[..., Watched], tmp_path: Path) -> None:
    """Its pictures in their order at our pace, not as fast as it can be read."""
    import cv2
    import numpy as np

    film = tmp_path / "film.avi"
    shoot(film, [0, 80, 160] + [240] * 300)
    watched = watch(device=str(film), backend="opencv", fps=4)
    pictures = []
    for _ in range(3):
        asked = watched.next()
        pictures.append(asked.payload)
        asked.answer(CAT)
    assert {size_of(picture) for picture in pictures} == {(64, 48)}
    levels = [int(cv2.imdecode(np.frombuffer(each, np.uint8), 0).mean()) for each in pictures]
    assert levels == pytest.approx([0, 80, 160], abs=10)


@needs_opencv
def test_a_film_that_is_over_is_told_and_begins_anew(watch: Callable[..., Watched], tmp_path: Path) -> None:
    """As a camera that was unplugged."""
    film = tmp_path / "film.avi"
    shoot(film, [100])
    watched = watch(device=str(film), backend="opencv")
    watched.next().answer(CAT)
    assert "the stream has ended" in watched.wait_for_problem().message
    watched.next().answer(CAT)


@needs_opencv
def test_what_opencv_cannot_open_is_a_problem(watch: Callable[..., Watched], tmp_path: Path) -> None:
    """Told in one line."""
    problem = watch(device=str(tmp_path / "none.avi"), backend="opencv").wait_for_problem()
    assert problem.code == "camera_lost" and "none.avi" in problem.message


def test_the_newest_picture_is_asked_about(
    watch: Callable[..., Watched], program: Any, tmp_path: Path
) -> None:
    """While the model is slow the others are let go: never a backlog."""
    done = tmp_path / "done"
    program(
        "send(b'first'); time.sleep(0.3)\n"
        f"for n in range(500): send(b'%03d' % n * 100)\nopen({str(done)!r}, 'w'); time.sleep(60)"
    )
    watched = watch(device="x")
    first = watched.next()
    until_s = time.monotonic() + PATIENCE_S
    stream = watched.camera._stream
    while not (done.exists() and stream is not None and (stream._frame or b"").startswith(b"499")):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    first.answer(CAT)
    assert (first.payload, watched.next().payload[:3]) == (b"first", b"499")


def test_a_program_that_dies_is_started_again(watch: Callable[..., Watched], program: Any) -> None:
    """The problem is there as long as the camera is not."""
    program("send(b'%d' % os.getpid()); time.sleep(0.2); sys.exit('unplugged')")
    watched = watch(device="x")
    first = watched.next()
    first.answer(CAT)
    problem = watched.wait_for_problem()
    assert (problem.code, "unplugged" in problem.message) == ("camera_lost", True)
    second = watched.next()
    assert second.payload != first.payload and watched.camera.problem is None
    second.answer(CAT)


def test_a_camera_that_hangs_is_noticed(watch: Callable[..., Watched], program: Any) -> None:
    """The program lives and shows nothing: it is ended and started again."""
    program("send(b'%d' % os.getpid()); time.sleep(60)")
    watched = watch(silent_s=0.5, device="x")
    first = watched.next()
    first.answer(CAT)
    assert "no picture came" in watched.wait_for_problem().message
    second = watched.next()
    assert second.payload != first.payload
    second.answer(CAT)


def test_the_pauses_grow_up_to_a_limit() -> None:
    """And are short again after the camera was well for a minute."""
    pauses = [0.0]
    for _ in range(9):
        pauses.append(next_pause_s(pauses[-1], 0.5))
    assert pauses[1:4] == [1, 2, 4] and pauses[-1] == MAX_PAUSE_S
    assert next_pause_s(MAX_PAUSE_S, 61) == 1


def test_it_stops_while_the_camera_shows_nothing(watch: Callable[..., Watched], program: Any) -> None:
    """At once, and it is no problem then."""
    program("time.sleep(60)")
    watched = watch(device="x")
    until_s = time.monotonic() + PATIENCE_S
    while watched.camera._stream is None and time.monotonic() < until_s:
        time.sleep(0.01)
    watched.camera.stop()
    watched.camera.join()
    assert not watched.camera._thread.is_alive() and watched.camera.problem is None
