"""`[pipeline]` of a run definition: where everything lies, when a model is good enough, and who gets it."""

from dataclasses import dataclass
from pathlib import Path

from cloud_train.runs.definition import RunDefinition
from contract.errors import MessageError
from contract.records import Maybe, Number, Record, Text, load_record, rule
from host_cli.errors import WrongUsage
from host_cli.settings import refuse_unknown

_PLACE = Text(max_length=4096)
_MAX_NAME = Text(max_length=128)


@dataclass(frozen=True)
class PipelineSettings(Record):
    """What the pipeline does beside training; trainers and image are those of `[runner]`.

    Attributes:
        out: path or URL of the folder with a folder for each run, and `pushed.json`.
        max_drop: accuracy that the model may lose when it becomes int8; more stops the pipeline.
        minimum_gain: a model is pushed when its int8 accuracy is more than this above the last one pushed.
        broker: mqtt://HOST:PORT; None: nothing is pushed.
        fleet: folder with the fleet's keys, as the step that pushes sees it.
        channel: of the fleet.
        to: names of devices, with commas; tag: devices that carry it; None: all of the channel.
    """

    out: str | None = rule(Maybe(_PLACE), default=None)
    max_drop: float = rule(Number(0, 1), default=0.01)
    minimum_gain: float = rule(Number(0, 1), default=0.0)
    broker: str | None = rule(Maybe(_PLACE), default=None)
    fleet: str = rule(_PLACE, default="fleet")
    channel: str = rule(_MAX_NAME, default="stable")
    to: str | None = rule(Maybe(_PLACE), default=None)
    tag: str | None = rule(Maybe(_MAX_NAME), default=None)


def settings_of(definition: RunDefinition, path: Path) -> PipelineSettings:
    """Return the checked `[pipeline]` of a definition that was read from `path`.

    Raises:
        WrongUsage: a key is unknown, a value is not allowed, or the definition names no data set.
    """
    refuse_unknown(PipelineSettings, definition.pipeline, path, "pipeline.")
    try:
        settings = load_record(PipelineSettings, definition.pipeline)
    except MessageError as error:
        raise WrongUsage(f"[pipeline] {error}", str(path), "correct that value") from error
    if definition.data.dataset is None:
        raise WrongUsage("[data] names no dataset to split", str(path), 'dataset = "fashion-mnist"')
    if settings.to and settings.tag:
        raise WrongUsage("[pipeline] has both to and tag", str(path), "leave one out")
    return settings
