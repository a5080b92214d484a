"""The story of `cloud-train average`: updates in files, screened, become one set of weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_train.averaging.screening import LeftOut, Screened, screen
from cloud_train.averaging.settings import Averaging
from cloud_train.averaging.updates import BadUpdate, StoredUpdate, open_update
from cloud_train.runs.gathering import average_round, merged
from cloud_train.runs.run_folder import UPDATES_FOLDER, RunFolder
from cloud_train.training.weights import Weights
from host_cli.errors import WrongUsage
from host_cli.progress import progress


@dataclass(frozen=True)
class Averaged:
    """What `average_files` found: the average, and who took part."""

    weights: Weights
    screened: Screened


def average_files(paths: Sequence[Path], start: Path | None, how: Averaging, where: str) -> Averaged:
    """Average the updates in files that can be averaged.

    Args:
        paths: the updates; a file that cannot be read is named by its stem.
        start: the weights that all of them started from; None: outliers are not looked for.
        how: the rule, and the quorum.
        where: what an error names.

    Raises:
        WrongUsage: `start` cannot be read.
        Failed: too few updates are left.
    """
    updates: list[StoredUpdate] = []
    left_out = []
    for path in paths:
        try:
            updates.append(open_update(path, path.stem))
        except BadUpdate as error:
            left_out.append(LeftOut(error.client, error.reason))
    with progress("looking at the updates", len(updates), "updates") as done:
        found = screen(updates, _start(start) if start else None, done)
    screened = merged(found, left_out)
    return Averaged(average_round(screened, len(paths), how, where), screened)


def newest_updates(folder: RunFolder) -> tuple[list[Path], Path]:
    """Return the updates of a run's newest round, and the weights that they started from.

    Raises:
        WrongUsage: there are none.
    """
    folder.fetch_progress()
    for number in (folder.rounds_done() + 1, folder.rounds_done()):
        updates = folder.path / UPDATES_FOLDER / f"round-{number}"
        folder.place.fetch_all(updates)
        found = sorted(updates.glob("[!.]*.npz"))  # a killed trainer leaves a temporary file
        if found:
            return found, folder.start(number)
    raise WrongUsage("there are no updates in it", folder.place.where, "the --out of `cloud-train run`")


def _start(path: Path) -> StoredUpdate:
    try:
        return open_update(path, "the start")
    except BadUpdate as error:
        raise WrongUsage(error.reason, str(path), "the weights that the updates started from") from error
