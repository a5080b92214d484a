"""`deploy broker`: reads options, calls one module, prints the result."""

from pathlib import Path
from typing import Annotated

import typer

from contract.topics import DEFAULT_BASE
from deploy.commands.options import FLEET, AsJson, Base, Fleet
from host_cli.command import print_result
from host_cli.errors import WrongUsage
from host_mqtt.address import DEFAULT_PORT, DEFAULT_TLS_PORT, LOOPBACK, Address


def broker(
    folder: Annotated[Path, typer.Option("--dir", help="Where the broker keeps its files.")] = Path("broker"),
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes a free one; 1883, with TLS 8883.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Only the fleet's certificates.")] = False,
    fleet: Fleet = FLEET,
    host: Annotated[str, typer.Option(metavar="NAME[,NAME]", help="What it is reached by.")] = "",
    listen: Annotated[str, typer.Option(help="Address it listens at; 0.0.0.0 for all.")] = LOOPBACK,
    base: Base = DEFAULT_BASE,
    write_only: Annotated[bool, typer.Option("--write-only", help="Write a server's files.")] = False,
    embedded: Annotated[bool, typer.Option("--embedded", help="Use the embedded broker.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a broker until SIGTERM or Ctrl-C: for this computer, or with TLS for a fleet."""
    from deploy.brokers.broker import serve
    from deploy.brokers.broker_files import Plan, write_server
    from deploy.stopping import stop_event

    if (embedded and tls) or (write_only and not tls):
        raise WrongUsage("these options do not go together", "deploy broker", "deploy broker --help")
    chosen = port if port is not None else DEFAULT_TLS_PORT if tls else DEFAULT_PORT
    hosts = tuple(name.strip() for name in host.split(",") if name.strip())
    plan = Plan(folder, chosen, fleet if tls else None, listen, hosts, base)
    if write_only:
        path = write_server(plan)
        text = f"copy {path} to /etc/mosquitto/conf.d/ and {plan.home} to /etc/mosquitto/"
        print_result({"ok": True, "config": str(path), "folder": str(plan.home)}, text, as_json)
        return

    def announce(address: Address) -> None:
        shown = {"host": address.host, "port": address.port, "url": str(address)}
        print_result(shown, f"broker ready at {address}", as_json)

    with stop_event() as stop:
        serve(plan, embedded, stop, announce)
