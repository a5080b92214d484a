"""Which program reads a camera: GStreamer's own, or ours with OpenCV. Both write the same stream of JPEGs.

Both are child processes: a camera's driver may hang, and OpenCV needs more memory than the whole agent.
"""

import importlib.util
import shlex
import shutil
import sys
from typing import Tuple

from edge_agent.source_config import GSTREAMER, OPENCV, SourceConfig
from edge_agent.sources.stream import StreamLost

_GST_LAUNCH = "gst-launch-1.0"
_DEVICES = "/dev/"


def build_command(config: SourceConfig) -> Tuple[str, ...]:
    """Return the command line of the program.

    Raises:
        StreamLost: neither is installed, or `device` is no text of a pipeline.
    """
    if config.backend == GSTREAMER or (config.backend != OPENCV and shutil.which(_GST_LAUNCH)):
        return (_GST_LAUNCH, "-q", *_build_pipeline(config))
    if config.backend == OPENCV or importlib.util.find_spec("cv2"):
        settings = (config.device, str(config.width), str(config.height), str(config.fps))
        return (sys.executable, "-m", "edge_agent.sources.opencv", *settings)
    raise StreamLost("neither GStreamer nor OpenCV is installed")


def _build_pipeline(config: SourceConfig) -> Tuple[str, ...]:
    size = f"video/x-raw,width={config.width},height={config.height},pixel-aspect-ratio=1/1"
    return (
        *_build_start(config.device),
        *("!", "videorate", f"max-rate={config.fps}", "!", "videoconvert", "!", "videoscale", "!", size),
        *("!", "jpegenc", "!", "multipartmux", "!", "fdsink", "fd=1", "sync=false"),
    )


def _build_start(device: str) -> Tuple[str, ...]:
    """Return the elements that the pictures come from."""
    if device.startswith(_DEVICES):
        return ("v4l2src", f"device={device}")
    if device.startswith("/"):
        return ("filesrc", f"location={device}", "!", "decodebin")
    try:
        return tuple(shlex.split(device))
    except ValueError as error:
        raise StreamLost(f"this is no pipeline: {error}") from error
