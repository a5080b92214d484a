"""The command line of `deploy`: reads options, calls one module, prints the result."""

import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import ContractError
from contract.topics import DEFAULT_BASE, Topics
from deploy.address import DEFAULT_BROKER, DEFAULT_PORT, Address
from deploy.durations import parse_duration
from host_cli.command import print_result, run
from host_cli.errors import Partial, WrongUsage

if TYPE_CHECKING:
    from deploy.push import Order, Result

app = typer.Typer(no_args_is_help=True, add_completion=False, help="From a bundle to a fleet of boards.")
keys_app = typer.Typer(no_args_is_help=True, help="Root, release and timestamp keys.")
app.add_typer(keys_app, name="keys")

Fleet = Annotated[
    Path, typer.Option("--fleet", envvar="REEFLINE_FLEET", help="Folder with the fleet's keys.")
]
Broker = Annotated[str, typer.Option("--broker", envvar="REEFLINE_BROKER", help="mqtt://HOST:PORT")]
Base = Annotated[str, typer.Option("--base", envvar="REEFLINE_BASE", help="First part of every topic.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

FLEET = Path("fleet")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    return run(app, argv)


@keys_app.command("init")
def keys_init(fleet: Fleet = FLEET, as_json: AsJson = False) -> None:
    """Make the keys of a new fleet and its root of trust."""
    from deploy.keys import ROOT_FILE, init_fleet

    made = init_fleet(fleet, time.time())
    root = fleet / ROOT_FILE
    keys = [{"role": one.role, "keyid": one.key.id, "file": str(one.path)} for one in made]
    lines = [f"{one.role:9} {one.key.id}  {one.path}" for one in made]
    text = "\n".join([*lines, f"boards trust {root}; move the root keys to a safe, offline place"])
    print_result({"ok": True, "root": str(root), "keys": keys}, text, as_json)


@app.command()
def broker(
    folder: Annotated[Path, typer.Option("--dir", help="Where the broker keeps its files.")] = Path("broker"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = DEFAULT_PORT,
    embedded: Annotated[bool, typer.Option("--embedded", help="Use the embedded broker.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a broker for this computer until SIGTERM or Ctrl-C."""
    from deploy.broker import serve
    from deploy.stopping import stop_event

    def announce(address: Address) -> None:
        print_result({"host": address.host, "port": address.port}, f"broker ready at {address}", as_json)

    with stop_event() as stop:
        serve(folder, port, embedded, stop, announce)


@app.command()
def push(
    bundle: Annotated[Path, typer.Argument(help="Folder that quantize left.")],
    to: Annotated[str, typer.Option("--to", metavar="NAME[,NAME]", help="Devices that get it.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Every device of the channel.")] = False,
    fleet: Fleet = FLEET,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    channel: Annotated[str, typer.Option(help="A named group of devices.")] = "stable",
    wait: Annotated[bool, typer.Option(help="Wait until the release runs.")] = True,
    timeout: Annotated[str, typer.Option(help="How long to wait: 30s, 5m, 2h.")] = "5m",
    chunk_bytes: Annotated[
        int | None, typer.Option(min=256, max=65536, help="Bytes of a chunk; chosen by size by default.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Sign a bundle, publish it, and wait until it runs."""
    from deploy.push import Order
    from deploy.push import push as push_bundle
    from deploy.targets import check_names

    if bool(to) == all_:
        raise WrongUsage(
            "either --to or --all says who gets it", "deploy push", "deploy push BUNDLE --to NAME"
        )
    try:
        topics = Topics(base)
        names = check_names(to, topics)
        topics.channel_desired(channel)
    except ContractError as error:
        raise WrongUsage(str(error), "deploy push", "deploy status shows the names") from error
    order = Order(
        bundle, fleet, Address.parse(broker), names, channel, base, wait, parse_duration(timeout), chunk_bytes
    )
    return _finish_push(order, push_bundle(order, _say), as_json)


def _finish_push(order: "Order", result: "Result", as_json: bool) -> int:
    from deploy.push import as_json as to_json

    shown = to_json(result)
    lines = [f"release {result.release}, version {result.version}, sequence {result.sequence}"]
    lines += [f"  {one.device}: {one.phase} after {one.seconds:.1f} s" for one in result.outcomes]
    if not result.bad:
        print_result(shown, "\n".join(lines), as_json)
        return 0
    reasons = "; ".join(f"{one.device} {one.phase}: {one.error.message}" for one in result.bad if one.error)
    what = f"{len(result.bad)} of {len(result.outcomes)} devices do not run the release: {reasons}"
    hint = "deploy status shows every device"
    if not as_json:
        print("\n".join(lines), flush=True)
        raise Partial(what, str(order.broker), hint)
    # One JSON object, so the error goes into the result.
    print(f"error: {what}\n   at: {order.broker}\n  try: {hint}", file=sys.stderr)
    error = {"code": Partial.code, "message": what, "hint": hint}
    print(json.dumps({**shown, "error": error}), flush=True)
    return Partial.exit_code


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One device.")] = None,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    as_json: AsJson = False,
) -> None:
    """Show every device: whether it is there, what it runs, what is wrong."""
    from deploy import status as module

    devices = module.read_status(Address.parse(broker), _checked_base(base), name)
    result = {"devices": [module.as_json(device) for device in devices]}
    print_result(result, "" if as_json else module.as_table(devices), as_json)


@app.command()
def collect(
    store: Annotated[str, typer.Option(help="sqlite:///results.db or postgresql://host/database")],
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    for_: Annotated[str | None, typer.Option("--for", help="Stop after 30s, 5m, 2h.")] = None,
    gaps: Annotated[bool, typer.Option("--gaps", help="Only list what the store misses.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write predictions into a store until SIGTERM or Ctrl-C."""
    if gaps:
        _list_gaps(store, as_json)
        return
    _collect(
        store, Address.parse(broker), _checked_base(base), parse_duration(for_) if for_ else None, as_json
    )


def _collect(store: str, address: Address, base: str, for_s: float | None, as_json: bool) -> None:
    from deploy import collector
    from deploy.link import Link
    from deploy.results import ResultStore
    from deploy.stopping import stop_event

    topics = Topics(base)
    session = collector.session_for(store)
    with stop_event() as stop, ResultStore(store) as results, Link(address, session) as link:
        link.subscribe(collector.filters(topics))
        _say(f"collecting from {address} into {store}")
        ends_s = math.inf if for_s is None else time.monotonic() + for_s
        counts = collector.collect(link, topics, results, lambda: stop.is_set() or time.monotonic() >= ends_s)
    found = counts.as_json()
    print_result(found, ", ".join(f"{value} {key}" for key, value in found.items()), as_json)


def _list_gaps(store: str, as_json: bool) -> None:
    from dataclasses import asdict

    from deploy.results import ResultStore, count_lost

    with ResultStore(store) as results:
        found = results.gaps()
    lines = [f"{gap.device} {gap.boot} {gap.source}: {gap.lost} lost" for gap in found]
    result = {"gaps": [asdict(gap) for gap in found], "lost": count_lost(found)}
    print_result(result, "\n".join(lines) or "nothing is missing", as_json)


def _checked_base(base: str) -> str:
    try:
        return Topics(base).base
    except ContractError as error:
        raise WrongUsage(str(error), "--base", f"write {DEFAULT_BASE}") from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
