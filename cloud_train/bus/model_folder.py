"""The folder of one model that follows a stream: its checkpoint, and what is left when the stream is over."""

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cloud_train.bus.choices import BEST
from cloud_train.bus.online import Learner, Position
from cloud_train.data.samples import Pictures, save_samples
from cloud_train.data.shards import TEST_FILE
from cloud_train.training.checkpoint import CHECKPOINT_FILE
from cloud_train.training.model_files import MODEL_FILE, About, read_run, write_model
from contract.artifacts import RUN_FILE, RunRecord
from contract.training import DataInfo
from host_cli import files
from host_cli.errors import WrongUsage
from host_cli.lock import locked

LOCK_FILE = ".lock"


@dataclass(frozen=True)
class ModelFolder:
    """Where the files of one model lie."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Weights, optimizer and position, as `Learner.save` writes them."""
        return self.path / CHECKPOINT_FILE

    def alone(self) -> AbstractContextManager[None]:
        """Let no other process work in this folder while the block runs.

        Raises:
            WrongUsage: one does.
        """
        what = "another process trains this model"
        hint = "wait for it, or give another --out"
        return locked(self.path / LOCK_FILE, WrongUsage(what, str(self.path), hint))

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.path / MODEL_FILE

    @property
    def is_finished(self) -> bool:
        """Whether the model is complete."""
        return (self.path / RUN_FILE).is_file()

    def record(self) -> RunRecord:
        """Read what `finish` wrote of the model.

        Raises:
            WrongUsage: it is damaged.
        """
        return read_run(self.path / RUN_FILE, "remove it, or give another --out")

    def finish(self, learner: Learner, position: Position, info: DataInfo, test: Pictures) -> None:
        """Write test.npz, model.keras and then run.json, which says that the model is complete."""
        save_samples(test, self.path / TEST_FILE)
        accuracy = position.history[-1]["accuracy"]
        about = About(info.dataset, info.labels, info.preprocessing, accuracy, position.history)
        write_model(learner.weights(position, info.passes), self.model, about)


def choose_best(out: Path) -> Path:
    """Copy the most accurate of the finished models in `out` to `best`, and return its model there."""
    found = sorted(path.parent for path in out.glob(f"*/{RUN_FILE}") if path.parent.name != BEST)
    best = max(found, key=lambda folder: ModelFolder(folder).record().accuracy or 0.0)
    to = out / BEST
    # run.json says that a model is complete, so it goes first and comes last.
    (to / RUN_FILE).unlink(missing_ok=True)
    for name in (TEST_FILE, MODEL_FILE, RUN_FILE):
        files.write_with(to / name, partial(shutil.copyfile, best / name))
    return to / MODEL_FILE
