"""What `[sources.NAME]` may say: where the pictures come from, which predictions are published."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Optional

from contract.errors import MessageError
from contract.records import Flag, Integer, Maybe, Number, Record, Text, rule
from contract.topics import NAME_PATTERN

FOLDER, CAMERA = "folder", "camera"
KEEP, DELETE, MOVE = "keep", "delete", "move"
AUTO, GSTREAMER, OPENCV = "auto", "gstreamer", "opencv"
EVERY, ON_CHANGE, RATE_LIMITED, AGGREGATE = "every", "on-change", "rate-limited", "aggregate"
# Sources that every agent has.
HTTP, MQTT = BUILT_IN = ("http", "mqtt")
MAX_SOURCES = 16
MASK = "***"
# User and password of an address; passwords and the like among the properties of a pipeline or in a query.
_SECRET = re.compile(r"(://)[^/\s]+(?=@)|((?:password|passwd|pw|token|secret|key)=)[^\s&]+", re.IGNORECASE)

_PATH = Text(r"[^\x00]*", max_length=4096)
_NEEDED = {FOLDER: "path", CAMERA: "device"}
_KEYS = {
    FOLDER: ("path", "every_s", "after", "move_to"),
    CAMERA: ("device", "width", "height", "fps", "backend"),
}


@dataclass(frozen=True)
class SourceConfig(Record):
    """One source. Those that the agent has by itself, http and mqtt, have no `kind`.

    Attributes:
        kind: FOLDER or CAMERA.
        path: the folder.
        every_s: how often it is looked at.
        after: what becomes of a picture that was answered.
        move_to: where it goes then; on the same file system as `path`.
        device: /dev/videoN, another file, or the text of a GStreamer pipeline.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        fps: frames per second, at most.
        backend: who reads the camera; AUTO takes GStreamer if it is installed, else OpenCV.
        model: which model answers, "" for the main one.
        publish: which predictions go to the broker: EVERY one, ON_CHANGE of label, the newest after each
            `min_interval_s` (RATE_LIMITED), the best of each `window_s` (AGGREGATE).
        min_score: less sure ones are not published at all, 0 to 1.
        image: whether the picture is published too.
    """

    kind: Optional[str] = rule(Maybe(Text(choices=(FOLDER, CAMERA))), default=None)
    path: str = rule(_PATH, default="")
    every_s: float = rule(Number(0.05, 3600), default=1)
    after: str = rule(Text(choices=(KEEP, DELETE, MOVE)), default=KEEP)
    move_to: str = rule(_PATH, default="")
    device: str = rule(_PATH, default="")
    width: int = rule(Integer(16, 4096), default=640)
    height: int = rule(Integer(16, 4096), default=480)
    fps: int = rule(Integer(1, 120), default=5)
    backend: str = rule(Text(choices=(AUTO, GSTREAMER, OPENCV)), default=AUTO)
    model: str = rule(Text(f"(?:{NAME_PATTERN})?"), default="")
    publish: str = rule(Text(choices=(EVERY, ON_CHANGE, RATE_LIMITED, AGGREGATE)), default=EVERY)
    min_interval_s: float = rule(Number(0.1, 86400), default=1)
    window_s: float = rule(Number(0.1, 86400), default=60)
    min_score: float = rule(Number(0, 1), default=0)
    image: bool = rule(Flag(), default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind, keys in _KEYS.items():
            strange = [key for key in keys if kind != self.kind and getattr(self, key) != _DEFAULTS[key]]
            if strange:
                raise MessageError(f'{strange[0]} is for a source with kind = "{kind}" only')
        if self.kind is None:
            if self.model:
                raise MessageError("model is not for a source without a kind: who asks names the model")
            return
        if not getattr(self, _NEEDED[self.kind]):
            raise MessageError(f"{_NEEDED[self.kind]} is missing, and a {self.kind} needs it")
        if (self.after == MOVE) != bool(self.move_to):
            raise MessageError('move_to and after = "move" go together')


def hide_secrets(text: str) -> str:
    """Return what strangers may see of a camera's `device`, or of a text that names it."""
    return _SECRET.sub(lambda found: (found.group(1) or found.group(2)) + MASK, text)


_DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(SourceConfig)}
