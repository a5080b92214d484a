"""`deploy status|watch|keep`: reads options, calls one module, prints the result."""

import math
from dataclasses import asdict
from typing import Annotated

import typer

from contract.topics import DEFAULT_BASE, Topics
from deploy.commands.options import FLEET, AsJson, Base, Broker, Fleet, Tag, say
from host_cli.command import print_result
from host_mqtt.address import DEFAULT_BROKER, Address

Name = Annotated[str | None, typer.Argument(help="One device.")]


def status(
    name: Name = None,
    watch_: Annotated[bool, typer.Option("--watch", help="Show it as it changes, until Ctrl-C.")] = False,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    as_json: AsJson = False,
) -> None:
    """Show every device: whether it is there, what it runs, how it is, what is wrong."""
    from deploy.fleets import status as module

    if watch_:
        _watch_status(broker, base, name, as_json)
        return
    devices = module.read_status(broker, base, name)
    result = {"devices": [module.as_json(device) for device in devices]}
    print_result(result, "" if as_json else module.as_table(devices), as_json)


def _watch_status(broker: Address, base: str, name: str | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from deploy.fleets import status as module
    from deploy.stopping import stop_event

    with stop_event() as stop:
        seen = module.follow_status(broker, base, name, stop.is_set)
        if as_json:
            for devices in seen:
                print_result({"devices": [module.as_json(device) for device in devices]}, "", True)
            return
        with Live(console=Console(width=module.TABLE_COLUMNS), auto_refresh=False) as live:
            for devices in seen:
                live.update(module.build_table(devices) if devices else module.NOBODY, refresh=True)


def watch(
    name: Name = None,
    tag: Tag = None,
    label: Annotated[str | None, typer.Option(help="Only this label.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Only from this score on.")] = 0.0,
    for_: Annotated[str | None, typer.Option("--for", help="Stop after 30s, 5m, 2h.")] = None,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    as_json: AsJson = False,
) -> None:
    """Show predictions as they come, until SIGTERM or Ctrl-C; with --json one object a line."""
    import time

    from contract.codec import encode
    from deploy.durations import parse_duration
    from deploy.fleets.live import Interest, as_line
    from deploy.fleets.live import watch as watch_predictions
    from deploy.stopping import stop_event
    from host_mqtt.link import Link

    ends_s = math.inf if for_ is None else time.monotonic() + parse_duration(for_)
    interest = Interest(name, tag, label, min_score)
    topics = Topics(base)
    with stop_event() as stop, Link(broker) as link:
        over = lambda: stop.is_set() or time.monotonic() >= ends_s  # noqa: E731
        for prediction in watch_predictions(link, topics, interest, over):
            print(encode(prediction).decode() if as_json else as_line(prediction), flush=True)


def keep(
    fleet: Fleet = FLEET, broker: Broker = DEFAULT_BROKER, base: Base = DEFAULT_BASE, as_json: AsJson = False
) -> None:
    """Keep on the broker what the fleet needs, until SIGTERM or Ctrl-C."""
    from deploy.releases.keeping import keep as keep_on
    from deploy.stopping import stop_event

    with stop_event() as stop:
        kept = keep_on(fleet, broker, base, stop.is_set, say)
    print_result({"ok": True, **asdict(kept)}, f"published {kept.bytes_published} bytes again", as_json)
