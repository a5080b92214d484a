"""The data bus: `cloud-train publish`, `follow` and `results`."""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_train.commands.bus_options import (
    DEFAULT_ADDRESS,
    AsWhom,
    Base,
    Broker,
    Store,
    Timeout,
    find_broker,
)
from cloud_train.commands.options import AsJson, Seed
from contract.topics import DEFAULT_BASE
from host_cli import command
from host_cli.errors import CommandError, Failed, Partial, Unreachable, WrongUsage
from host_cli.progress import progress

if TYPE_CHECKING:
    from cloud_train.bus.follower import FollowPlan

DEFAULT_STREAM = "fashion-mnist"
DEFAULT_PART_SAMPLES = 32
DEFAULT_TEST = 1000
DEFAULT_TIMEOUT_S = 300.0
DEFAULT_STORE = "sqlite:///catalogue.db"


def publish(
    dataset: Annotated[
        str | None, typer.Option(help="As for `split`: fashion-mnist, FILE.npz, a folder.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH|URL", help="Instead: a folder with shards.json.")
    ] = None,
    broker: Broker = DEFAULT_ADDRESS,
    stream: Annotated[str | None, typer.Option(help="Its name on the bus; default: the data set's.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Pictures per second at most.")] = None,
    passes: Annotated[int, typer.Option(min=1, max=10000, help="How often all of it is streamed.")] = 1,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1024, help="Pictures per step.")
    ] = DEFAULT_PART_SAMPLES,
    test: Annotated[int, typer.Option(min=1, help="How many held-out pictures to test on.")] = DEFAULT_TEST,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only N training pictures.")] = None,
    followers: Annotated[int, typer.Option(min=1, help="How many models must come.")] = 1,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    seed: Seed = 0,
    base: Base = DEFAULT_BASE,
    credentials: AsWhom = None,
    as_json: AsJson = False,
) -> int:
    """Stream a data set over MQTT until every model that follows it is through."""
    from cloud_train.bus.publisher import Publisher
    from cloud_train.bus.source import Source, open_stream
    from cloud_train.bus.stream import room_for_pictures
    from contract.stamps import build_ulid
    from contract.topics import Topics
    from host_mqtt.link import Link

    source = Source(dataset, data, stream, batch_size, passes, test, limit, seed)
    publisher = build_ulid(time.time(), os.urandom(10))
    address = find_broker(broker, credentials)
    with tempfile.TemporaryDirectory(prefix="cloud-train-") as work, Link(address) as link:
        opened = open_stream(source, publisher, room_for_pictures(link.max_packet_bytes), Path(work))
        info = opened.info
        _say(f"waiting for {followers} models: cloud-train follow --stream {info.dataset} ...")
        with progress(f"streaming {info.dataset}", info.parts, "parts") as advance:
            publishing = Publisher(
                link,
                Topics(base),
                opened,
                rate=rate,
                wanted=followers,
                timeout_s=timeout,
                tell=_say,
                advance=advance,
            )
            outcome = publishing.run()
    result = {"stream": info.dataset, "sha256": info.stream, "samples": info.samples, **asdict(outcome)}
    if not outcome.left_behind:
        text = f"{info.dataset}: {info.parts} parts, {len(outcome.followers)} models are through"
        command.print_result({"ok": True, **result}, text, as_json)
        return 0
    error = _left_behind(outcome.left_behind, len(outcome.followers), info.parts)
    if not as_json:
        raise error
    return command.print_failed({"ok": False, **result}, error)


def follow(
    model: Annotated[
        list[str],
        typer.Option(metavar="[NAME=]MODEL[,...]", help="Once for each; ,learning_rate=N ,width=N."),
    ],
    out: Annotated[Path, typer.Option(help="Folder: one for each model in it, and `best`.")],
    broker: Broker = DEFAULT_ADDRESS,
    stream: Annotated[str, typer.Option(help="Its name on the bus.")] = DEFAULT_STREAM,
    run: Annotated[str | None, typer.Option(help="Name for reports and catalogue; default: --out's.")] = None,
    store: Store = DEFAULT_STORE,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    seed: Seed = 0,
    base: Base = DEFAULT_BASE,
    credentials: AsWhom = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
    as_json: AsJson = False,
) -> int:
    """Train models online on a stream; each tests itself every 100 steps and publishes its accuracy."""
    from cloud_train.bus.catalogue import Catalogue
    from cloud_train.bus.children import follow_in_children
    from cloud_train.bus.choices import parse_choices, run_name
    from cloud_train.bus.follower import FollowPlan
    from cloud_train.bus.model_folder import choose_best
    from host_mqtt.link import Link

    choices = parse_choices(model, seed)
    run = run_name(run, out)
    address = find_broker(broker, credentials)
    if child:
        plan = FollowPlan(address, base, stream, run, choices[0], out / choices[0].name, store, timeout)
        return _follow_as_child(plan)
    # What is wrong for all of them is told once, and at once.
    with Catalogue(store), Link(address):
        pass
    shared = {"out": out, "broker": broker, "stream": stream, "run": run, "store": store}
    shared |= {"timeout": timeout, "seed": seed, "base": base, "credentials": credentials}
    options = [f"--{key}={value}" for key, value in shared.items() if value is not None]
    commands = {
        choice.name: ["follow", f"--model={text}", *options, "--child", "--json"]
        for text, choice in zip(model, choices, strict=True)
    }
    found = follow_in_children(commands, os.environ, lambda said: _print_report(said, as_json))
    trained = [one["result"] for one in found.values() if one["ok"]]
    best = choose_best(out) if trained else None
    result = {"models": trained, "best": str(best) if best else None}
    failed = {name: one["exit_code"] for name, one in found.items() if not one["ok"]}
    if failed:
        _print_table(trained, as_json)
        error = _failure(failed, len(found))
        if not as_json:
            raise error
        return command.print_failed({"ok": False, **result}, error)
    command.print_result({"ok": True, **result}, f"{_table(trained)}\nthe best: {best}", as_json)
    return 0


def results(
    store: Store = DEFAULT_STORE,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what `follow` wrote into the catalogue, the most accurate model first."""
    from cloud_train.bus.catalogue import Catalogue

    with Catalogue(store, is_read=True) as catalogue:
        found = [asdict(one) for one in catalogue.results(run)]
    command.print_result({"ok": True, "results": found}, _table(found) if found else "no results", as_json)


def _follow_as_child(plan: "FollowPlan") -> int:
    """Train one model; say everything as JSON, for the process that started this one."""
    from cloud_train.bus.children import end_with_parent
    from cloud_train.bus.follower import Teller, follow
    from contract.records import dump_record

    end_with_parent()
    teller = Teller(_say, lambda report: print(json.dumps(dump_record(report)), flush=True))
    print(json.dumps({"ok": True, "result": asdict(follow(plan, teller))}), flush=True)
    return 0


def _print_report(said: dict[str, Any], as_json: bool) -> None:
    text = "{model} step {step} accuracy {accuracy:.4f}".format(**said)
    command.print_result(said, text, as_json)


def _table(rows: list[dict[str, Any]]) -> str:
    """Return results in 80 columns, the most accurate first."""
    lines = [
        f"{'run/model':<26} {'trained as':<14} {'rate':>7} {'samples':>8} {'accuracy':>8} {'seconds':>8}"
    ]
    for row in sorted(rows, key=lambda row: -row["accuracy"]):
        name = f"{row['run']}/{row['model']}"
        figures = f"{row['samples']:>8} {row['accuracy']:>8.4f} {row['seconds']:>8.1f}"
        lines.append(f"{name:<26.26} {row['architecture']:<14.14} {row['learning_rate']:>7.2g} {figures}")
    return "\n".join(lines)


def _print_table(rows: list[dict[str, Any]], as_json: bool) -> None:
    if rows and not as_json:
        print(_table(rows), flush=True)


def _failure(failed: dict[str, int], models: int) -> CommandError:
    where = ", ".join(failed)
    if len(failed) < models:
        what = f"{len(failed)} of {models} models did not come to the end"
        return Partial(what, where, "see above why; the same command goes on where it was")
    kinds: dict[int, type[CommandError]] = {2: WrongUsage, 3: Unreachable}
    kind = kinds.get(min(failed.values()), Failed)
    return kind("no model came to the end of the stream", where, "see above why; the same command goes on")


def _left_behind(left: dict[str, int], followers: int, parts: int) -> Partial:
    what = f"{len(left)} of {followers} models did not come to the end"
    where = ", ".join(f"{name} wants part {number} of {parts}" for name, number in left.items())
    return Partial(what, where, "start them again, then publish again: they go on where they were")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
