"""What becomes of a run's updates: `cloud-train average` and `verify`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_train.commands.averaging_options import KrumF, KrumKeep, Quorum, Rule, Trim, parse_quorum
from cloud_train.commands.options import AsJson
from host_cli import command
from host_cli.errors import GateNotMet, Partial, WrongUsage

if TYPE_CHECKING:
    from cloud_train.training.weights import Weights


def average(
    out: Annotated[str, typer.Option("--out", "-o", help="Weights (.npz) or a model (.keras).")],
    updates: Annotated[list[str] | None, typer.Argument(help="Shard updates, .npz, paths or URLs.")] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="PATH|URL", help="The newest round of a run instead.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="What the updates started from; then outliers are found too.")
    ] = None,
    rule: Rule = None,
    trim: Trim = None,
    krum_f: KrumF = None,
    krum_keep: KrumKeep = None,
    quorum: Quorum = None,
    as_json: AsJson = False,
) -> int:
    """Average shard updates; who cannot be averaged is left out and named."""
    from cloud_train import store
    from cloud_train.runs import averaging_files
    from cloud_train.runs.definition import load_definition
    from cloud_train.runs.place import Place
    from cloud_train.runs.run_folder import RunFolder

    if not out.endswith((".npz", ".keras")):
        raise WrongUsage("weights are written as .npz, a model as .keras", out, "-o average.npz")
    if bool(updates) == (run is not None):
        raise WrongUsage("name the updates, or a run that has some", "command line", "average W0.npz W1.npz")
    options = {"rule": rule, "trim": trim, "krum_f": krum_f, "krum_keep": krum_keep}
    options["quorum"] = parse_quorum(quorum)
    how = load_definition(None, {f"averaging.{key}": value for key, value in options.items()}).averaging
    with tempfile.TemporaryDirectory(prefix="cloud-train-") as work:
        start: Path | None = None
        if run is not None:
            paths, start = averaging_files.newest_updates(RunFolder(Place.of(run, Path(work))))
        else:
            paths = [store.fetch(where, Path(work, str(place))) for place, where in enumerate(updates or [])]
        start = store.fetch(init, Path(work, "init")) if init else start
        found = averaging_files.average_files(paths, start, how, out)
        _save_weights(found.weights, out, Path(work))
    left_out = [{"client": one.client, "reason": one.reason} for one in found.screened.left_out]
    shown = {
        "ok": not left_out,
        "num_examples": found.weights.num_examples,
        "sha256": found.weights.digest(),
        "left_out": left_out,
    }
    kept = len(found.screened.kept)
    text = f"{out}: {kept} of {len(paths)} updates, {found.weights.num_examples} examples"
    if not left_out:
        command.print_result(shown, text, as_json)
        return 0
    names = "; ".join(f"{one['client']}: {one['reason']}" for one in left_out)
    error = Partial(f"{len(left_out)} of {len(paths)} updates are left out: {names}", out, "train them again")
    return _print_failed(shown, text, error, as_json)


def verify(
    run: Annotated[str, typer.Argument(metavar="PATH|URL", help="The --out of `cloud-train run`.")],
    data: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="Where the shards are now, if they were moved.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Recompute every average of a run, and check the chain from its shards to its model."""
    from cloud_train.runs import verification
    from cloud_train.runs.place import Place
    from cloud_train.runs.run_folder import RunFolder

    with tempfile.TemporaryDirectory(prefix="cloud-train-") as work:
        folder = RunFolder(Place.of(run, Path(work, "run")))
        record = verification.load_run(folder)
        where = data or verification.require_lineage(record, folder).data.where
        found = verification.verify(folder, record, Place.of(where, Path(work, "data")))
    shown = {"ok": not found.wrong, "rounds": found.rounds, "updates": found.updates, "wrong": found.wrong}
    text = f"{run}: {found.rounds} rounds of {found.updates} updates lead from the shards to the model"
    if not found.wrong:
        command.print_result(shown, text, as_json)
        return 0
    error = GateNotMet("; ".join(found.wrong), run, "do not use this model, or find out who changed it")
    return _print_failed(shown, "\n".join(found.wrong), error, as_json)


def _save_weights(weights: "Weights", out: str, work: Path) -> None:
    from cloud_train import store
    from cloud_train.training.models import save_model
    from cloud_train.training.weights import save_weights

    target = work / store.name_of(out) if store.is_remote(out) else store.local_path(out)
    (save_model if out.endswith(".keras") else save_weights)(weights, target)
    store.put(target, out)


def _print_failed(shown: dict[str, Any], text: str, error: GateNotMet | Partial, as_json: bool) -> int:
    if not as_json:
        print(text, flush=True)
        raise error
    return command.print_failed(shown, error)
