"""Where a training stands, on disk: after a SIGKILL it goes on at the last checkpoint's step."""

from dataclasses import dataclass
from pathlib import Path

from cloud_train.data.recorded import load_recorded, save_recorded
from cloud_train.data.samples import Array
from cloud_train.training.recipe import DEFAULT_CHECKPOINT_STEPS
from contract.artifacts import MAX_RUN_BYTES, SHA256_PATTERN
from contract.records import Integer, Items, Number, Record, Table, Text, rule
from host_cli.errors import WrongUsage

CHECKPOINT_FILE = "checkpoint.npz"
_MAX_ARRAYS = 20_000
_MAX_PASSES = 100_000


@dataclass(frozen=True)
class Standing(Record):
    """How far a training is.

    Attributes:
        job: hash of all that decides the result: the recipe, the weights it started from, the pictures.
        passes: whole passes of this training.
        step: steps of the pass under way.
        arrays: how many arrays hold weights, optimizer, random states and running figures.
        history: figures of the whole passes.
    """

    job: str = rule(Text(SHA256_PATTERN))
    passes: int = rule(Integer())
    step: int = rule(Integer())
    arrays: int = rule(Integer(0, _MAX_ARRAYS))
    history: tuple[dict[str, float], ...] = rule(Items(Table(Number()), max_items=_MAX_PASSES), default=())


@dataclass(frozen=True)
class Checkpoints:
    """The folder of a training's checkpoint, and how many steps may be lost."""

    folder: Path
    every_steps: int = DEFAULT_CHECKPOINT_STEPS

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / CHECKPOINT_FILE

    def load(self, job: str) -> tuple[Standing, list[Array]] | None:
        """Return where the training stands, None at its start.

        Raises:
            WrongUsage: the checkpoint is damaged, or of another training.
        """
        hint = "another --checkpoint folder, or remove this file to start anew"
        if not self.path.exists():
            return None
        # The history of many passes is larger than a message.
        standing, arrays = load_recorded(Standing, self.path, "checkpoint", hint, MAX_RUN_BYTES)
        try:
            values = [arrays[str(index)] for index in range(standing.arrays)]
        except KeyError as error:
            raise WrongUsage(
                f"it is no checkpoint, there is no {error} in it", str(self.path), hint
            ) from error
        if standing.job != job:
            what = "it is of another training: other options, weights or pictures"
            raise WrongUsage(what, str(self.path), hint)
        return standing, values

    def save(self, standing: Standing, values: list[Array]) -> None:
        """Replace the checkpoint by a newer one; a reader sees the old one or the whole new one."""
        save_recorded(self.path, standing, {str(index): value for index, value in enumerate(values)})

    def clear(self) -> None:
        """Remove the checkpoint: what the training was for lies where it belongs."""
        self.path.unlink(missing_ok=True)
