"""`cloud-train split`."""

from pathlib import Path
from typing import Annotated

import typer

from cloud_train.commands.options import AsJson, Seed
from host_cli import command
from host_cli.errors import WrongUsage


def split(
    dataset: Annotated[str, typer.Option(help="fashion-mnist, FILE.npz, or a folder with IDX files.")],
    out: Annotated[Path, typer.Option(help="Folder for shard-K.npz, test.npz and shards.json.")],
    shards: Annotated[int, typer.Option(min=1, max=1000)] = 4,
    seed: Seed = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only N training pictures.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the IDX files of fashion-mnist lie.")] = None,
    as_json: AsJson = False,
) -> None:
    """Deal a data set out at random into shards of equal size."""
    from cloud_train.data import shards as dealing
    from cloud_train.data.datasets import load_dataset
    from cloud_train.data.samples import BadSamples

    found = load_dataset(dataset, data_dir)
    if limit is not None:
        found = dealing.limit(found, limit, seed)
    try:
        manifest = dealing.write_shards(found, dataset, shards, seed, out)
    except BadSamples as error:
        raise WrongUsage(str(error), dataset, "fewer --shards or a larger --limit") from error
    counts = [entry.examples for entry in manifest.shards]
    result = {"ok": True, "shards": counts, "test": manifest.test.examples, "labels": list(manifest.labels)}
    text = (
        f"{out}: {len(counts)} shards of {min(counts)} to {max(counts)} pictures, {result['test']} held out"
    )
    command.print_result(result, text, as_json)
