"""`cloud-train split`."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cloud_train.commands.options import AsJson, Seed
from host_cli import command
from host_cli.errors import WrongUsage

if TYPE_CHECKING:
    from cloud_train.data.datasets import Dataset
    from cloud_train.data.selection import Choice
    from cloud_train.data.shards import ShardManifest
    from cloud_train.data.splitters import Deal

SKIPPED_TOLD = 5
TERMINAL_COLUMNS = 80


def split(
    dataset: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH|URL",
            help="fashion-mnist, mnist, caltech101; an .npz, .zip or .tar.gz; a folder of class folders.",
        ),
    ],
    out: Annotated[
        str, typer.Option(metavar="PATH|URL", help="Folder for shard-K.npz, test.npz and shards.json.")
    ],
    shards: Annotated[int, typer.Option(min=1, max=1000)] = 4,
    strategy: Annotated[
        Literal["iid", "dirichlet", "label-skew"], typer.Option(help="How unlike each other shards are.")
    ] = "iid",
    alpha: Annotated[
        float | None, typer.Option(help="Of dirichlet; the smaller, the less alike. Default: 0.5.")
    ] = None,
    classes_per_shard: Annotated[int | None, typer.Option(min=1, help="Of label-skew. Default: 2.")] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW[xC]", help="Bring pictures to it. Default: 224x224x3 for picture files."),
    ] = None,
    test_share: Annotated[
        float | None, typer.Option(help="Hold out so much, if the data hold nothing out. Default: 0.2.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only N training pictures.")] = None,
    seed: Seed = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where fashion-mnist, mnist or caltech101 lies.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Deal a data set out into shards: at random, or as unevenly as in the field."""
    plan = plan_of(shards, seed, strategy, alpha, classes_per_shard)
    manifest = deal_out(dataset, out, plan, choice_of(size, test_share, limit, seed), data_dir)
    command.print_result(_result(manifest), _text(out, manifest), as_json)


def deal_out(
    dataset: str, out: str, plan: "Deal", choice: "Choice", data_dir: Path | None
) -> "ShardManifest":
    """Read a data set, or the part that is chosen of it, and write its shards to a path or URL."""
    from cloud_train import store
    from cloud_train.data.datasets import load_dataset
    from cloud_train.data.samples import BadSamples
    from cloud_train.data.shards import write_shards

    with tempfile.TemporaryDirectory(prefix="cloud-train-") as work:
        source = str(store.fetch(dataset, Path(work))) if "://" in dataset else dataset
        folder = Path(work, "shards") if store.is_remote(out) else store.local_path(out)
        store.exists(out)  # a bucket that is not there is missed now, not after an hour of decoding
        found = load_dataset(source, data_dir, choice, near=folder)
        _tell_skipped(found)
        try:
            manifest = write_shards(found, dataset, plan, folder)
        except BadSamples as error:
            hint = "fewer --shards, a larger --limit, or more --classes-per-shard"
            raise WrongUsage(str(error), dataset, hint) from error
        for name in (*(entry.file.path for entry in (*manifest.shards, manifest.test)), "shards.json"):
            store.put(folder / name, store.join(out, name))
    return manifest


def plan_of(
    count: int, seed: int, strategy: str, alpha: float | None, classes_per_shard: int | None
) -> "Deal":
    """Return how pictures are dealt out, or say which option does not fit the strategy."""
    from cloud_train.data import splitters

    for option, value, owner in (
        ("--alpha", alpha, splitters.DIRICHLET),
        ("--classes-per-shard", classes_per_shard, splitters.LABEL_SKEW),
    ):
        if value is not None and strategy != owner:
            what = f"{option} belongs to --strategy {owner}"
            raise WrongUsage(what, f"--strategy {strategy}", f"--strategy {owner}, or leave it out")
    if strategy == splitters.DIRICHLET:
        alpha = splitters.DEFAULT_ALPHA if alpha is None else alpha
    if strategy == splitters.LABEL_SKEW:
        classes_per_shard = classes_per_shard or splitters.DEFAULT_CLASSES_PER_SHARD
    if alpha is not None and not splitters.MIN_ALPHA <= alpha <= splitters.MAX_ALPHA:
        what = f"--alpha goes from {splitters.MIN_ALPHA:g} to {splitters.MAX_ALPHA:g}"
        raise WrongUsage(what, f"--alpha {alpha}", "0.1 is very uneven, 0.5 uneven, 100 nearly even")
    return splitters.Deal(count, seed, strategy, alpha, classes_per_shard)


def choice_of(size: str | None, test_share: float | None, limit: int | None, seed: int) -> "Choice":
    """Return what is wanted of a data set, or say which option is out of range."""
    from cloud_train.data.samples import BadSamples
    from cloud_train.data.selection import Choice, parse_size

    if test_share is not None and not 0 < test_share < 1:
        raise WrongUsage("a share is between 0 and 1", f"--test-share {test_share}", "--test-share 0.2")
    try:
        return Choice(None if size is None else parse_size(size), test_share, limit, seed)
    except BadSamples as error:
        raise WrongUsage(str(error), f"--size {size}", "--size 96x96, or --size 28x28x1 for grey") from error


def _tell_skipped(found: "Dataset") -> None:
    for each in found.skipped[:SKIPPED_TOLD]:
        print(f"skipped: {each}", file=sys.stderr)
    if len(found.skipped) > SKIPPED_TOLD:
        print(f"skipped: {len(found.skipped) - SKIPPED_TOLD} more, see shards.json", file=sys.stderr)


def _result(manifest: "ShardManifest") -> dict[str, Any]:
    return {
        "ok": True,
        "shards": [entry.examples for entry in manifest.shards],
        "test": manifest.test.examples,
        "labels": list(manifest.labels),
        "label_counts": [list(entry.label_counts) for entry in manifest.shards],
        "skipped": {"count": manifest.skipped, "first": list(manifest.skipped_first)},
    }


def _text(out: str, manifest: "ShardManifest") -> str:
    counts = [entry.examples for entry in manifest.shards]
    sizes = f"{len(counts)} shards of {min(counts)} to {max(counts)} pictures"
    skipped = f", {manifest.skipped} skipped" if manifest.skipped else ""
    summary = f"{out}: {sizes}, {manifest.test.examples} held out{skipped}"
    return summary if manifest.strategy == "iid" else "\n".join([*_table(manifest), summary])


def _table(manifest: "ShardManifest") -> list[str]:
    # A column for each label where they fit, else the labels that a shard has most of.
    names = [f"shard-{index}" for index in range(len(manifest.shards))]
    width = max(len(str(max(entry.label_counts))) for entry in manifest.shards) + 1
    width = max(width, len(str(len(manifest.labels) - 1)) + 1)
    first = max(len(name) for name in [*names, "label"])
    if first + width * len(manifest.labels) <= TERMINAL_COLUMNS:
        rows = [("label", tuple(range(len(manifest.labels))))]
        rows += [(name, entry.label_counts) for name, entry in zip(names, manifest.shards, strict=True)]
        return [f"{name:<{first}}" + "".join(f"{one:>{width}}" for one in row) for name, row in rows]
    lines = []
    for name, entry in zip(names, manifest.shards, strict=True):
        most = sorted(zip(entry.label_counts, manifest.labels, strict=True), key=lambda each: -each[0])
        known = [f"{label} {count}" for count, label in most if count]
        line = f"{name:<{first}} {len(known):>4} labels: {', '.join(known)}"
        lines.append(line if len(line) <= TERMINAL_COLUMNS else line[: TERMINAL_COLUMNS - 3] + "...")
    return lines
