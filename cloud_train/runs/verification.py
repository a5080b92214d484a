"""The story of `cloud-train verify`: every link from the shards to the model, recomputed or hashed again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cloud_train.averaging.rules import TooFewUpdates, average
from cloud_train.averaging.screening import follows, inspect
from cloud_train.averaging.server import Moved, State, advance
from cloud_train.averaging.updates import BadUpdate, Update, open_update
from cloud_train.data.shards import MANIFEST_FILE, ShardManifest, load_manifest
from cloud_train.runs.place import Place
from cloud_train.runs.run_folder import UPDATES_FOLDER, RunFolder, RunSettings
from cloud_train.training.model_files import MODEL_FILE, read_run
from cloud_train.training.models import load_model, normalisation
from cloud_train.training.weights import Architecture, Weights, digest_of, load_weights
from contract.artifacts import RUN_FILE, FileEntry, Lineage, RoundEntry, RunRecord, UpdateEntry
from contract.errors import MessageError
from contract.records import load_record
from host_cli import files
from host_cli.errors import WrongUsage
from host_cli.progress import Advance, progress

_HINT = "the --out of a `cloud-train run` that is over"


@dataclass
class Verified:
    """What `verify` found.

    Attributes:
        rounds: how many there are.
        updates: how many were averaged, over all rounds.
        wrong: what does not match, by name, in the order of the chain; empty when everything does.
    """

    rounds: int
    updates: int
    wrong: list[str] = field(default_factory=list)


def load_run(folder: RunFolder) -> RunRecord:
    """Read a run's run.json, and copy the rest of a remote run.

    Raises:
        WrongUsage: there is no run.
    """
    folder.place.fetch_all(folder.path)
    folder.place.require(RUN_FILE, _HINT)
    return read_run(folder.path / RUN_FILE, _HINT)


def require_lineage(record: RunRecord, folder: RunFolder) -> Lineage:
    """Return what run.json says of the run's descent.

    Raises:
        WrongUsage: it is of a version that wrote nothing down.
    """
    if record.lineage is None:
        raise WrongUsage("its run.json says nothing of its descent", folder.place.where, "make the run again")
    return record.lineage


def verify(folder: RunFolder, record: RunRecord, data: Place) -> Verified:
    """Check every link of the chain; what is wrong with one does not hide what is wrong with the next.

    Args:
        folder: of the run.
        record: its run.json.
        data: where its shards are.

    Raises:
        WrongUsage: run.json has no lineage, or there are no shards where they should be.
    """
    lineage = require_lineage(record, folder)
    found = Verified(len(lineage.rounds), sum(len(_averaged(entry)) for entry in lineage.rounds))
    settings = _settings(lineage, folder)
    manifest = _verify_data(lineage, settings, data, found)
    last = _verify_rounds(folder, lineage, settings, found)
    _verify_model(folder, record, last, found)
    _verify_figures(folder, record, settings, found)
    if manifest is not None:
        _verify_clients(lineage, manifest, found)
        _verify_meaning(record, manifest, settings, found)
    return found


def _settings(lineage: Lineage, folder: RunFolder) -> RunSettings:
    try:
        return load_record(RunSettings, lineage.config, "lineage.config.")
    except MessageError as error:
        raise WrongUsage(str(error), str(folder.path / RUN_FILE), _HINT) from error


def _verify_data(
    lineage: Lineage, settings: RunSettings, data: Place, found: Verified
) -> ShardManifest | None:
    # Returns the manifest when it can be read.
    data.fetch_all(data.path)
    path = data.path / MANIFEST_FILE
    if not path.is_file():
        raise WrongUsage("the shards are not there", data.where, "--data FOLDER, where they are now")
    if settings.data_sha256 != lineage.data.manifest_sha256:
        found.wrong.append("config: it is of another shard manifest than the data")
    if files.sha256_of(path) != lineage.data.manifest_sha256:
        found.wrong.append(f"{MANIFEST_FILE}: it is another shard manifest")
    entries = (*lineage.data.shards, lineage.data.test)
    with progress("hashing the data", sum(entry.size for entry in entries), "bytes") as done:
        for entry in entries:
            _verify_file(data.path / entry.path, entry, found)
            done(entry.size)
    with _named(MANIFEST_FILE, found):
        manifest = load_manifest(data.path)
        if entries != tuple(entry.file for entry in (*manifest.shards, manifest.test)):
            found.wrong.append(f"{MANIFEST_FILE}: it has other files than the run")
        return manifest
    return None


def _verify_clients(lineage: Lineage, manifest: ShardManifest, found: Verified) -> None:
    # An update counts as its shard says, and a shard that has none was left out with a reason.
    examples = {Path(entry.file.path).stem: entry.examples for entry in manifest.shards}
    for entry in lineage.rounds:
        if sorted(update.client for update in entry.updates) != sorted(examples):
            found.wrong.append(f"round {entry.round}: its clients are not the shards of {MANIFEST_FILE}")
        found.wrong += [
            f"round {entry.round}, {update.client}: it counts otherwise than {MANIFEST_FILE} says"
            for update in _averaged(entry)
            if examples.get(update.client, update.num_examples) != update.num_examples
        ]


def _verify_meaning(
    record: RunRecord, manifest: ShardManifest, settings: RunSettings, found: Verified
) -> None:
    # What a program that takes the model reads in run.json.
    if record.labels != manifest.labels:
        found.wrong.append("labels: they are not those of the data")
    architecture = Architecture(
        settings.recipe.model, manifest.preprocessing.shape, len(manifest.labels), settings.width
    )
    with _named("preprocessing", found):
        scale, offset = normalisation(architecture)
        if record.preprocessing != replace(manifest.preprocessing, scale=scale, offset=offset):
            found.wrong.append("preprocessing: it is not that of the data and the model")


def _verify_figures(folder: RunFolder, record: RunRecord, settings: RunSettings, found: Verified) -> None:
    if record.name != settings.name:
        found.wrong.append("name: it is not that of the config")
    if found.rounds != settings.averaging.rounds:
        found.wrong.append(f"config: it is of {settings.averaging.rounds} rounds")
    with _named("history", found):
        history = folder.history()
        if list(record.history) != history or [record.accuracy] != [one["accuracy"] for one in history[-1:]]:
            found.wrong.append("history: it has other figures than the checkpoints")


def _verify_file(path: Path, entry: FileEntry, found: Verified) -> None:
    if not path.is_file():
        found.wrong.append(f"{entry.path}: it is missing")
    elif files.sha256_of(path) != entry.sha256:
        found.wrong.append(f"{entry.path}: its content is not what the run had")


def _verify_rounds(folder: RunFolder, lineage: Lineage, settings: RunSettings, found: Verified) -> str | None:
    # Returns the digest of the last round's weights, as run.json says it.
    state: State | None = {}
    promised = after = lineage.rounds[0].before if lineage.rounds else None
    with progress("averaging again", found.updates, "updates") as done:
        for number, entry in enumerate(lineage.rounds, 1):
            if entry.round != number or promised not in (None, entry.before):
                found.wrong.append(f"round {number}: it does not start where the round before it led")
            start = _checked_weights(folder.start(number), entry.before, found)
            updates = _checked_updates(folder, entry, found, done)
            moved = _recompute(entry, start, updates, state, settings, found)
            state, promised = (moved.state, moved.start.digest()) if moved else (None, None)
            _checked_weights(folder.checkpoint(number), entry.after, found)
            after = entry.after
    return after


def _checked_updates(
    folder: RunFolder, entry: RoundEntry, found: Verified, done: Advance
) -> list[Update] | None:
    # What was averaged; None when some of it is not as it was.
    folder.place.fetch_all(folder.path / UPDATES_FOLDER / f"round-{entry.round}")
    updates: list[Update] = []
    for part in _averaged(entry):
        with _named(f"round {entry.round}, {part.client}", found):
            update = open_update(folder.update(entry.round, part.client), part.client)
            if inspect(update, None).sha256 != part.sha256:
                raise BadUpdate(part.client, "its weights are not those that were averaged")
            if (update.header.client, update.header.num_examples) != (part.client, part.num_examples):
                raise BadUpdate(part.client, "it counts otherwise than when it was averaged")
            if not follows(update.header, entry.before):
                raise BadUpdate(part.client, "it was trained from other weights than the round's start")
            updates.append(update)
        done(1)
    return updates if len(updates) == len(_averaged(entry)) else None


def _recompute(
    entry: RoundEntry,
    start: Weights | None,
    updates: list[Update] | None,
    state: State | None,
    settings: RunSettings,
    found: Verified,
) -> Moved | None:
    # None when an earlier link is broken, so that nothing is known of this one.
    if start is None or updates is None or state is None:
        return None
    title = f"round {entry.round}"
    with _named(title, found):
        moved = advance(start, average(updates, settings.averaging), state, settings.averaging)
        if moved.model.digest() != entry.after:
            found.wrong.append(f"{title}: its updates give other weights")
        return moved
    return None


def _checked_weights(path: Path, digest: str, found: Verified) -> Weights | None:
    with _named(path.name, found):
        weights = load_weights(path)
        if weights.digest() == digest:
            return weights
        found.wrong.append(f"{path.name}: its weights are not those of the run")
    return None


def _verify_model(folder: RunFolder, record: RunRecord, digest: str | None, found: Verified) -> None:
    path = folder.path / MODEL_FILE
    _verify_file(path, record.model, found)
    with _named(MODEL_FILE, found):
        if digest_of(load_model(path).get_weights()) != digest:
            found.wrong.append(f"{MODEL_FILE}: its weights are not those of the last round")


def _averaged(entry: RoundEntry) -> list[UpdateEntry]:
    return [update for update in entry.updates if update.left_out is None]


@contextmanager
def _named(title: str, found: Verified) -> Iterator[None]:
    # A file that cannot be read is something that is wrong, with its name.
    try:
        yield
    except BadUpdate as error:
        found.wrong.append(f"{title}: {error.reason}")
    except WrongUsage as error:
        found.wrong.append(f"{title}: {error.what}")
    except TooFewUpdates as error:
        found.wrong.append(f"{title}: {error}")
