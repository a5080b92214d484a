"""The folder of a run: checkpoints of its rounds, what can be continued, and what is left at the end."""

import re
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path

from cloud_train.averaging.server import Moved, State, state_names
from cloud_train.averaging.settings import Averaging
from cloud_train.runs.place import Place
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Weights, load_weights, save_weights
from contract.artifacts import MAX_RUN_BYTES, MODEL_NAME_PATTERN, SHA256_PATTERN, RoundEntry
from contract.codec import encode
from contract.records import Maybe, Nested, Number, Record, Text, rule
from host_cli import files
from host_cli.documents import read_document
from host_cli.errors import WrongUsage
from host_cli.lock import locked

SETTINGS_FILE = "settings.json"
LOCK_FILE = "run.lock"
UPDATES_FOLDER = "updates"
_CHECKPOINT = re.compile(r"round-(\d+)\.npz")
# What does not change what was trained before, and may be another when a run is continued.
_MAY_CHANGE = {"rounds", "quorum", "round_timeout_s"}


@dataclass(frozen=True)
class RunSettings(Record):
    """`settings.json`: what must not change when a run is continued."""

    name: str = rule(Text(MODEL_NAME_PATTERN))
    data_sha256: str = rule(Text(SHA256_PATTERN))
    recipe: Recipe = rule(Nested(Recipe))
    averaging: Averaging = rule(Nested(Averaging))
    width: float = rule(Number(0.01, 10.0), default=1.0)
    pretrained_sha256: str | None = rule(Maybe(Text(SHA256_PATTERN)), default=None)


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie. A round is over when its checkpoint is there.

    Every file is put where others find it as soon as it is complete.
    """

    place: Place

    @property
    def path(self) -> Path:
        """The folder on this computer."""
        return self.place.path

    def alone(self) -> AbstractContextManager[None]:
        """Let no other process of this computer work in this folder while the block runs.

        Raises:
            WrongUsage: one does.
        """
        what = "another process trains this run"
        hint = "wait for it, or give another --out"
        return locked(self.path / LOCK_FILE, WrongUsage(what, self.place.where, hint))

    def checkpoint(self, number: int) -> Path:
        """The weights that round `number` left, 1 or more."""
        return self.path / f"round-{number}.npz"

    def start(self, number: int) -> Path:
        """What the trainers of round `number` start from; of the first, the common initialisation."""
        return self.path / f"start-{number}.npz"

    def entry(self, number: int) -> Path:
        """What is known of round `number`: its updates, who was left out and why."""
        return self.path / f"round-{number}.json"

    def state(self, name: str, number: int) -> Path:
        """What the server remembers after round `number`."""
        return self.path / f"{name}-{number}.npz"

    def update(self, number: int, client: str) -> Path:
        """What a client sent in round `number`."""
        return self.path / UPDATES_FOLDER / f"round-{number}" / f"{client}.npz"

    def reference(self, client: str) -> Path:
        """A model that was trained for comparison: `central`, or `alone-K`."""
        return self.path / "references" / f"{client}.npz"

    def rounds_done(self) -> int:
        """Return how many rounds are over."""
        found = [_CHECKPOINT.fullmatch(path.name) for path in self.path.glob("round-*.npz")]
        return max((int(match.group(1)) for match in found if match), default=0)

    def begin(self, settings: RunSettings) -> None:
        """Make room for a new run; what another one left of its first round is removed.

        Raises:
            WrongUsage: a run with at least one round lies there.
        """
        self.fetch_progress()
        if self.rounds_done():
            what = f"a run of {self.rounds_done()} rounds lies there"
            raise WrongUsage(what, self.place.where, "--resume to continue it, or another --out")
        shutil.rmtree(self.path / UPDATES_FOLDER, ignore_errors=True)
        self.save_record(self.path / SETTINGS_FILE, settings)

    def save_start(self, initial: Weights) -> None:
        """Write what the first round starts from; from now on the run can be continued."""
        self._save_weights(initial, self.start(1))

    def resume(self, settings: RunSettings) -> None:
        """Check that the run that lies here can be continued with `settings`.

        Raises:
            WrongUsage: there is no run, it has more rounds, or it was started with other settings.
        """
        self.fetch_progress()
        path = self.path / SETTINGS_FILE
        if not path.is_file() or not self.start(1).is_file():
            raise WrongUsage("there is no run to continue", self.place.where, "leave out --resume")
        found = read_document(RunSettings, path, "start a new run in another --out")
        _refuse_change(found, settings, path)
        if self.rounds_done() > settings.averaging.rounds:
            what = f"the run has {self.rounds_done()} rounds already"
            raise WrongUsage(what, self.place.where, f"--rounds {self.rounds_done()} or more")

    def fetch_progress(self) -> None:
        """Copy what a remote run has so far: its rounds, and the updates of the one that is not over."""
        self.place.fetch_all(self.path)
        self.place.fetch_all(self.update(self.rounds_done() + 1, "any").parent)

    def save_round(self, number: int, moved: Moved, entry: RoundEntry) -> None:
        """Write what the next round needs, what is known of this one, then its checkpoint: it is over."""
        for name, kept in moved.state.items():
            self._save_weights(kept, self.state(name, number))
        self._save_weights(moved.start, self.start(number + 1))
        self.save_record(self.entry(number), entry)
        self._save_weights(moved.model, self.checkpoint(number))

    def load_state(self, number: int, how: Averaging) -> State:
        """Read what the server remembers after round `number`; before the first it is nothing."""
        names = state_names(how) if number else ()
        return {name: load_weights(self.state(name, number)) for name in names}

    def history(self) -> list[dict[str, float]]:
        """Return the figures of every round that is over, in order."""
        return [load_weights(self.checkpoint(number)).figures for number in range(1, self.rounds_done() + 1)]

    def entries(self) -> Sequence[RoundEntry]:
        """Return what is known of every round that is over, in order.

        Raises:
            WrongUsage: a file is missing or damaged.
        """
        hint = "start a new run in another --out"
        return [
            read_document(RoundEntry, self.entry(number), hint, max_bytes=MAX_RUN_BYTES)
            for number in range(1, self.rounds_done() + 1)
        ]

    def _save_weights(self, weights: Weights, path: Path) -> None:
        save_weights(weights, path)
        self.place.share(path)

    def save_record(self, path: Path, record: Record) -> None:
        """Write a document of the run."""
        files.write_bytes(path, encode(record))
        self.place.share(path)


def _refuse_change(found: Record, wanted: Record, path: Path) -> None:
    for entry in fields(wanted):  # type: ignore[arg-type]
        old, new = getattr(found, entry.name), getattr(wanted, entry.name)
        if isinstance(old, Record):
            _refuse_change(old, new, path)
        elif old != new and entry.name not in _MAY_CHANGE:
            what = f"the run was started with {entry.name} {old}, not {new}"
            raise WrongUsage(what, str(path), "give the same options and data, or another --out")
