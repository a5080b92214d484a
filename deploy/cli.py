"""The command line of `deploy`: reads options, calls one module, prints the result."""

import logging
import math
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from contract.topics import DEFAULT_BASE, Topics
from deploy.commands import (
    broker_command,
    certificate_commands,
    enroll_command,
    flash_command,
    fleet_commands,
    key_commands,
    rollout_commands,
    sending_commands,
    simulate_command,
)
from deploy.commands.options import FLEET, AsJson, AsWhom, Base, Broker, Fleet
from deploy.durations import parse_duration
from host_cli.command import print_result, run
from host_mqtt.address import DEFAULT_BROKER, Address

app = typer.Typer(no_args_is_help=True, add_completion=False, help="From a bundle to a fleet of boards.")
keys_app = typer.Typer(no_args_is_help=True, help="Root, release and timestamp keys; certificates.")
app.add_typer(keys_app, name="keys")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    return run(app, argv)


keys_app.command("list")(key_commands.list_keys)
keys_app.command("rotate")(key_commands.rotate)
keys_app.command("revoke")(key_commands.revoke)
keys_app.command("publish")(key_commands.publish)
keys_app.command("device")(certificate_commands.device)
keys_app.command("block")(certificate_commands.block)
keys_app.command("operator")(certificate_commands.operator)
for each in (
    broker_command.broker,
    *(enroll_command.enroll, flash_command.flash),
    *(sending_commands.push, sending_commands.rollback, sending_commands.unpin, sending_commands.history),
    *(fleet_commands.status, fleet_commands.watch, fleet_commands.keep),
    simulate_command.simulate,
):
    app.command()(each)
app.add_typer(rollout_commands.app, name="rollout")


@app.callback()
def connect_as(credentials: AsWhom = None) -> None:
    """From a bundle to a fleet of boards."""


@keys_app.command("init")
def keys_init(fleet: Fleet = FLEET, as_json: AsJson = False) -> None:
    """Make the keys of a new fleet and its root of trust."""
    from deploy.trust.keys import ROOT_FILE, init_fleet

    made = init_fleet(fleet, time.time())
    root = fleet / ROOT_FILE
    keys = [{"role": one.role, "keyid": one.key.id, "file": str(one.path)} for one in made]
    lines = [f"{one.role:9} {one.key.id}  {one.path}" for one in made]
    text = "\n".join([*lines, f"boards trust {root}", "move the root keys to a safe, offline place"])
    print_result({"ok": True, "root": str(root), "keys": keys}, text, as_json)


@app.command()
def command(
    name: Annotated[str, typer.Argument(help="One device.")],
    what: Annotated[str, typer.Argument(metavar="restart|rollback", help="What it shall do.")],
    fleet: Fleet = FLEET,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    as_json: AsJson = False,
) -> None:
    """Have a device restart its agent, or go back to its last known good model."""
    from deploy.releases.command import Order, send_command

    answer = send_command(Order(fleet, broker, base, name, what))
    shown = {"ok": True, "device": name, "command": what, "counter": answer.counter}
    print_result(shown, f"{name}: {what} done", as_json)


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
    _collect(store, broker, base, parse_duration(for_) if for_ else None, as_json)


def _collect(store: str, address: Address, base: str, for_s: float | None, as_json: bool) -> None:
    from deploy.fleets import collector
    from deploy.fleets.results import ResultStore
    from deploy.stopping import stop_event
    from host_mqtt.link import Link

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

    from deploy.fleets.results import ResultStore, count_lost

    with ResultStore(store) as results:
        found = results.gaps()
    lines = [f"{gap.device} {gap.boot} {gap.source}: {gap.lost} lost" for gap in found]
    result = {"gaps": [asdict(gap) for gap in found], "lost": count_lost(found)}
    print_result(result, "\n".join(lines) or "nothing is missing", as_json)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
