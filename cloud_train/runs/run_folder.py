"""The folder of a run: checkpoints of its rounds, what can be continued, and what is left at the end."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from cloud_train.data.shards import ShardManifest
from cloud_train.training.models import save_model
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Weights, load_weights, save_weights
from contract.artifacts import MODEL_NAME_PATTERN, RUN_FILE, SHA256_PATTERN, RunRecord
from contract.codec import decode, encode
from contract.errors import MessageError
from contract.records import Nested, Number, Record, Text, rule
from contract.stamps import format_time
from host_cli import files
from host_cli.errors import WrongUsage

MODEL_FILE = "model.keras"
SETTINGS_FILE = "settings.json"
_CHECKPOINT = re.compile(r"round-(\d+)\.npz")


@dataclass(frozen=True)
class RunSettings(Record):
    """`settings.json`: what must not change when a run is continued."""

    name: str = rule(Text(MODEL_NAME_PATTERN))
    data_sha256: str = rule(Text(SHA256_PATTERN))
    momentum: float = rule(Number(0, 0.999))
    recipe: Recipe = rule(Nested(Recipe))


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie. A round is over when its checkpoint is there."""

    path: Path

    def checkpoint(self, number: int) -> Path:
        """Weights after round `number`; 0 is the common initialisation."""
        return self.path / f"round-{number}.npz"

    def velocity(self, number: int) -> Path:
        """The server's velocity after round `number`."""
        return self.path / f"velocity-{number}.npz"

    def update(self, number: int, shard: int) -> Path:
        """What shard `shard` sent in round `number`."""
        return self.path / "updates" / f"round-{number}" / f"shard-{shard}.npz"

    def reference(self, client: str) -> Path:
        """A model that was trained for comparison: `central`, or `alone-K`."""
        return self.path / "references" / f"{client}.npz"

    def rounds_done(self) -> int:
        """Return how many rounds are over."""
        found = [_CHECKPOINT.fullmatch(path.name) for path in self.path.glob("round-*.npz")]
        return max((int(match.group(1)) for match in found if match), default=0)

    def begin(self, settings: RunSettings) -> None:
        """Start a new run.

        Raises:
            WrongUsage: a run with at least one round lies there.
        """
        if self.rounds_done():
            what = f"a run of {self.rounds_done()} rounds lies there"
            raise WrongUsage(what, str(self.path), "--resume to continue it, or another --out")
        files.write_bytes(self.path / SETTINGS_FILE, encode(settings))

    def resume(self, settings: RunSettings, rounds: int) -> None:
        """Check that the run that lies here can be continued up to `rounds` with `settings`.

        Raises:
            WrongUsage: there is no run, it has more rounds, or it was started with other settings.
        """
        path = self.path / SETTINGS_FILE
        try:
            found = decode(RunSettings, path.read_bytes())
        except OSError as error:
            raise WrongUsage("there is no run to continue", str(self.path), "leave out --resume") from error
        except MessageError as error:
            raise WrongUsage(str(error), str(path), "start a new run in another --out") from error
        _refuse_change(found, settings, path)
        _refuse_change(found.recipe, settings.recipe, path)
        if self.rounds_done() > rounds:
            what = f"the run has {self.rounds_done()} rounds already"
            raise WrongUsage(what, str(self.path), f"--rounds {self.rounds_done()} or more")

    def save_round(self, number: int, weights: Weights, velocity: Weights) -> None:
        """Write a round's velocity, then its checkpoint, which says that the round is over."""
        save_weights(velocity, self.velocity(number))
        save_weights(weights, self.checkpoint(number))

    def load_velocity(self, number: int) -> Weights | None:
        """Read the velocity after round `number`; there is none before the first."""
        return load_weights(self.velocity(number)) if number else None

    def history(self) -> list[dict[str, float]]:
        """Return the figures of every round that is over, in order."""
        return [load_weights(self.checkpoint(number)).figures for number in range(1, self.rounds_done() + 1)]

    def finish(self, name: str, weights: Weights, manifest: ShardManifest, now_s: float) -> RunRecord:
        """Write model.keras, and then run.json, which says that the model is complete."""
        model = self.path / MODEL_FILE
        save_model(weights, model)
        record = RunRecord(
            name=name,
            model=files.describe(model),
            labels=manifest.labels,
            preprocessing=manifest.preprocessing,
            created=format_time(now_s),
            accuracy=weights.figures["accuracy"],
            history=tuple(self.history()),
        )
        files.write_bytes(self.path / RUN_FILE, encode(record))
        return record


def _refuse_change(found: Record, wanted: Record, path: Path) -> None:
    for entry in fields(wanted):  # type: ignore[arg-type]
        old, new = getattr(found, entry.name), getattr(wanted, entry.name)
        if old != new and not isinstance(old, Record):
            what = f"the run was started with {entry.name} {old}, not {new}"
            raise WrongUsage(what, str(path), "give the same options and data, or another --out")
