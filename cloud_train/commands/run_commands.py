"""Many trainers, one model: `cloud-train run`."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cloud_train.commands.averaging_options import KrumF, KrumKeep, Quorum, Rule, Trim, parse_quorum
from cloud_train.commands.options import AsJson
from host_cli import command
from host_cli.errors import WrongUsage

if TYPE_CHECKING:
    from cloud_train.data.shards import ShardManifest
    from cloud_train.data.splitters import Deal
    from cloud_train.runners.jobs import Runner
    from cloud_train.runs.definition import DataPart, RunDefinition
    from cloud_train.runs.place import Place


def run(
    out: Annotated[
        str, typer.Option(metavar="PATH|URL", help="Folder for checkpoints, model.keras and run.json.")
    ],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Run definition, TOML; options win over it.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH|URL", help="Folder with shards.json.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds in the end. Default: 3.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="cnn3 (default), mnist_cnn, mobilenet_v2, or MODULE:FUNC."),
    ] = None,
    width: Annotated[float | None, typer.Option(metavar="W", help="Of mobilenet_v2: 0.35 to 1.4.")] = None,
    pretrained: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights for all but the head.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called. Default: fashion-mnist.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per step. Default: 16.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the first pass. Default: 0.002.")] = None,
    decay: Annotated[
        float | None,
        typer.Option(help="Learning rate as a share of the pass before. Default: 0.7."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over a shard in a round. Default: 1.")] = None,
    proximal: Annotated[
        float | None, typer.Option(metavar="MU", help="FedProx: how strongly the start holds. Default: 0.")
    ] = None,
    mixed_precision: Annotated[
        bool, typer.Option("--mixed-precision", help="Compute in 16 bits; faster on a GPU only.")
    ] = False,
    rule: Rule = None,
    trim: Trim = None,
    krum_f: KrumF = None,
    krum_keep: KrumKeep = None,
    server: Annotated[
        Literal["momentum", "adam"] | None,
        typer.Option(help="What becomes of the average. Default: momentum."),
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(help="Of the server; 0 is the average as it is. Default: 0.7.")
    ] = None,
    warm_up: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Pictures that the start learns from. Default: 0.1."),
    ] = None,
    server_rate: Annotated[
        float | None, typer.Option(help="Learning rate of --server adam. Default: 0.01.")
    ] = None,
    quorum: Quorum = None,
    round_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A trainer that is not done by then is left out.")
    ] = None,
    runner: Annotated[
        Literal["local", "kubernetes"] | None, typer.Option(help="Where trainers work. Default: local.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same result. Default: 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Make the initialisation only; shards are trained elsewhere.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Also train each shard alone.")] = False,
    central: Annotated[bool, typer.Option("--central", help="Also train on all shards together.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train the shards, average them round by round, and leave one model."""
    from cloud_train.runs.definition import load_definition

    options: dict[str, Any] = {"name": name, "data.folder": data, "runner.kind": runner}
    options |= {"model.name": model, "model.width": width, "model.pretrained": pretrained}
    training = {"batch_size": batch_size, "learning_rate": learning_rate, "decay": decay, "seed": seed}
    training |= {"epochs": epochs, "proximal": proximal, "mixed_precision": mixed_precision or None}
    averaging: dict[str, Any] = {"rounds": rounds, "rule": rule, "trim": trim}
    averaging |= {"krum_f": krum_f, "krum_keep": krum_keep, "quorum": parse_quorum(quorum)}
    averaging |= {"server": server, "momentum": momentum, "server_rate": server_rate}
    averaging |= {"round_timeout_s": round_timeout, "warm_up": warm_up}
    options |= {f"training.{key}": value for key, value in training.items()}
    options |= {f"averaging.{key}": value for key, value in averaging.items()}
    definition = load_definition(config, options)
    wishes = {"resume": resume, "prepare": prepare, "alone": alone, "central": central}
    result = carry_out(definition, out, **wishes)
    command.print_result(result, result["start"] if prepare else _run_text(result), as_json)


def carry_out(
    definition: "RunDefinition", out: str, *, resume: bool, prepare: bool, alone: bool, central: bool
) -> dict[str, Any]:
    """Deal the data out if need be, train, and return what `run --json` prints."""
    from cloud_train import store
    from cloud_train.runs import rounds as story
    from cloud_train.runs.place import Place

    recipe = definition.recipe()
    with tempfile.TemporaryDirectory(prefix="cloud-train-") as work:
        data = _data(definition.data, out, Path(work, "data"))
        pretrained = definition.model.pretrained
        is_local = definition.runner.kind == "local"
        plan = story.RunPlan(
            data=data,
            shards=str(data.path) if is_local else data.where,
            out=Place.of(out, Path(work, "run")),
            name=definition.name,
            recipe=recipe,
            averaging=definition.averaging,
            width=definition.model.width,
            pretrained=store.fetch(pretrained, Path(work, "pretrained")) if pretrained else None,
            resume=resume,
            prepare=prepare,
            alone=alone,
            central=central,
        )
        return story.run(plan, RUNNERS[definition.runner.kind](definition, out))


def _data(part: "DataPart", out: str, copies: Path) -> "Place":
    # A data set is dealt out once; a run that is resumed finds its shards.
    from cloud_train import store
    from cloud_train.commands.data_commands import choice_of, deal_out, plan_of
    from cloud_train.data.shards import MANIFEST_FILE, load_manifest
    from cloud_train.runs.place import Place

    if part.folder is None and part.dataset is None:
        raise WrongUsage("there is no data", "command line", "--data FOLDER, or [data] in the run definition")
    where = part.folder or store.join(out, "data")
    plan = plan_of(part.shards, part.seed, part.strategy, part.alpha, part.classes_per_shard)
    if part.dataset and not store.exists(store.join(where, MANIFEST_FILE)):
        choice = choice_of(part.size, part.test_share, part.limit, part.seed)
        deal_out(part.dataset, where, plan, choice, Path(part.dir) if part.dir else None)
    place = Place.of(where, copies)
    place.fetch_all(place.path)
    place.require(MANIFEST_FILE, f"cloud-train split --dataset ... --out {where}")
    if part.dataset:
        _refuse_other_deal(load_manifest(place.path), part.dataset, plan, where)
    return place


def _refuse_other_deal(found: "ShardManifest", dataset: str, plan: "Deal", where: str) -> None:
    # Shards that an earlier definition left there must not pass for those of this one.
    wanted = {"dataset": dataset, "seed": plan.seed, "strategy": plan.strategy, "alpha": plan.alpha}
    wanted["classes_per_shard"] = plan.classes_per_shard
    there = {key: getattr(found, key) for key in wanted} | {"shards": len(found.shards)}
    for key, value in {**wanted, "shards": plan.count}.items():
        if there[key] != value:
            what = f"the shards that lie there have {key} {there[key]}, not {value}"
            raise WrongUsage(
                what, where, "another folder in [data], or the definition that they were dealt out by"
            )


def _local_runner(definition: "RunDefinition", out: str) -> "Runner":
    from cloud_train.runners.local import LocalRunner

    return LocalRunner(os.cpu_count() or 1, os.environ)


def _kubernetes_runner(definition: "RunDefinition", out: str) -> "Runner":
    from cloud_train import store
    from cloud_train.runners.kubernetes_api import connect
    from cloud_train.runners.kubernetes_job import Owner
    from cloud_train.runners.kubernetes_runner import KubernetesRunner

    settings = definition.runner
    cluster = connect(settings, os.environ.get("KUBECONFIG"))
    name, uid = (os.environ.get(variable) for variable in OWNER_VARIABLES)
    owner = Owner(name, uid) if name and uid else None
    return KubernetesRunner(cluster, settings, definition.name, store.join(out, "work"), owner=owner)


# How a manifest tells the collector which Job it runs in; its trainers' Jobs are deleted together with that.
OWNER_VARIABLES = ("REEFLINE_JOB_NAME", "REEFLINE_JOB_UID")
RUNNERS = {"local": _local_runner, "kubernetes": _kubernetes_runner}


def _run_text(result: dict[str, Any]) -> str:
    lines = [
        "round {round}: accuracy {accuracy:.4f}, loss {loss:.4f}, {seconds:.0f} s".format(**one)
        + (f", {len(one['left_out'])} left out" if one["left_out"] else "")
        for one in result["rounds"]
    ]
    lines += [
        f"{one['shard']} alone: accuracy {one['accuracy']:.4f}"
        for one in result["shards"]
        if one["accuracy"] is not None
    ]
    if result["central"]:
        lines.append(f"all shards together: accuracy {result['central']['accuracy']:.4f}")
    return "\n".join([*lines, result["model"]])
