"""`deploy push|rollback|unpin|history`: reads options, calls one module, prints the result."""

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.artifacts import SHA256_PATTERN
from contract.errors import ContractError
from contract.topics import DEFAULT_BASE, Topics
from deploy.commands.options import FLEET, AsJson, Base, Broker, Channel, Fleet, Tag, Yes, say
from deploy.durations import parse_duration
from host_cli.command import print_failed, print_result
from host_cli.errors import Partial, WrongUsage
from host_mqtt.address import DEFAULT_BROKER

if TYPE_CHECKING:
    from deploy.releases.push import Preview
    from deploy.releases.sending import Result

To = Annotated[str, typer.Option("--to", metavar="NAME[,NAME]", help="Devices that get it.")]
All = Annotated[bool, typer.Option("--all", help="Every device of the channel.")]
Wait = Annotated[bool, typer.Option(help="Wait until the release runs.")]
Timeout = Annotated[str, typer.Option(help="How long to wait: 30s, 5m, 2h.")]


def push(
    bundle: Annotated[Path, typer.Argument(help="Folder that quantize left.")],
    to: To = "",
    tag: Tag = None,
    all_: All = False,
    fleet: Fleet = FLEET,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    channel: Channel = "stable",
    wait: Wait = True,
    timeout: Timeout = "5m",
    chunk_bytes: Annotated[
        int | None, typer.Option(min=256, max=65536, help="Bytes of a chunk; chosen by size by default.")
    ] = None,
    revoke: Annotated[
        list[str] | None, typer.Option(metavar="SHA256", help="A model that must not run any more.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show who would get it; publish nothing.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Sign a bundle, publish it, and wait until it runs."""
    from deploy.releases.push import Order, Preview
    from deploy.releases.push import push as push_bundle

    names = check_targets("deploy push BUNDLE", to, tag, all_, base, channel)
    if all_ and not dry_run:
        require_yes(f"every device of channel {channel} gets {bundle}", yes)
    timeout_s, revoked = parse_duration(timeout), _check_revoked(revoke or [])
    order = Order(
        bundle, fleet, broker, names, tag, channel, base, wait, timeout_s, chunk_bytes, dry_run, revoked
    )
    found = push_bundle(order, say)
    if isinstance(found, Preview):
        return _show_preview(found, as_json)
    return finish(found, str(broker), as_json)


def rollback(
    name: Annotated[str, typer.Argument(metavar="[NAME[,NAME]]", help="Devices that go back.")] = "",
    tag: Tag = None,
    all_: All = False,
    to: Annotated[str | None, typer.Option("--to", metavar="VERSION", help="Back to which one.")] = None,
    fleet: Fleet = FLEET,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    channel: Channel = "stable",
    wait: Wait = True,
    timeout: Timeout = "5m",
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Bring devices, or a channel, back to what ran before."""
    from deploy.releases.rollback import Order, roll_back

    names = check_targets("deploy rollback", name, tag, all_, base, channel)
    if all_:
        require_yes(f"every device of channel {channel} goes back", yes)
    order = Order(fleet, broker, names, tag, channel, to, base, wait, parse_duration(timeout))
    return finish(roll_back(order, time.time(), say), str(broker), as_json)


def unpin(
    name: Annotated[str, typer.Argument(metavar="[NAME[,NAME]]", help="Devices to give back.")] = "",
    tag: Tag = None,
    fleet: Fleet = FLEET,
    broker: Broker = DEFAULT_BROKER,
    base: Base = DEFAULT_BASE,
    channel: Channel = "stable",
    wait: Wait = True,
    timeout: Timeout = "5m",
    as_json: AsJson = False,
) -> int:
    """Give devices that have a release of their own back to their channel."""
    from deploy.releases.unpin import Order
    from deploy.releases.unpin import unpin as give_back

    names = check_targets("deploy unpin", name, tag, None, base, channel)
    order = Order(fleet, broker, names, tag, channel, base, wait, parse_duration(timeout))
    found = give_back(order, time.time(), say)
    if found is not None:
        return finish(found, str(broker), as_json)
    shown: dict[str, Any] = {"ok": True, "release": None, "devices": []}
    print_result(shown, f"channel {channel} has no release: they keep what they run", as_json)
    return 0


def history(
    name: Annotated[str | None, typer.Argument(help="One device.")] = None,
    fleet: Fleet = FLEET,
    as_json: AsJson = False,
) -> None:
    """Show what was released, to whom, when, by whom and with which key."""
    from deploy.releases import history as module

    found = module.read_history(fleet, name)
    print_result(module.as_json(*found), module.as_text(*found), as_json)


def check_targets(
    command: str, to: str, tag: str | None, all_: bool | None, base: str, channel: str
) -> tuple[str, ...]:
    """Return the names; exactly one of names, tag and, where it is not None, all must be given.

    Raises:
        WrongUsage: it is not, or a name cannot stand in a topic.
    """
    from deploy.releases.targets import check_names

    if [bool(to), tag is not None, all_].count(True) != 1:
        ways = "names and --tag" if all_ is None else "names, --tag and --all"
        raise WrongUsage(f"one of {ways} says who is meant", command, f"{command} --help")
    try:
        topics = Topics(base)
        topics.channel_desired(channel)
        return check_names(to, topics)
    except ContractError as error:
        raise WrongUsage(str(error), command, "deploy status shows the names") from error


def _check_revoked(found: list[str]) -> tuple[str, ...]:
    for text in found:
        if re.fullmatch(SHA256_PATTERN, text) is None:
            what = f"{text!r} is not the SHA-256 of a file"
            raise WrongUsage(what, "--revoke", "sha256sum FILE tells it, 64 hex digits")
    return tuple(found)


def require_yes(what: str, yes: bool) -> None:
    """Ask a person at a terminal; without one only --yes will do.

    Raises:
        WrongUsage: nobody agreed.
    """
    if yes or (sys.stdin.isatty() and typer.confirm(f"{what}. Go on?", err=True)):
        return
    raise WrongUsage(f"{what}: nobody agreed to that", "command line", "give --yes")


def finish(result: "Result", where: str, as_json: bool) -> int:
    """Print what came of a release; return the exit code.

    Raises:
        Partial: it does not run on every device, and people read along.
    """
    from deploy.releases.sending import as_json as to_json

    shown = to_json(result)
    lines = [f"release {result.release}, version {result.version}, sequence {result.sequence}"]
    lines += [f"  {one.device}: {one.phase} after {one.seconds:.1f} s" for one in result.outcomes]
    if not result.bad:
        print_result(shown, "\n".join(lines), as_json)
        return 0
    reasons = "; ".join(f"{one.device} {one.phase}: {one.error.message}" for one in result.bad if one.error)
    what = f"{len(result.bad)} of {len(result.outcomes)} devices do not run the release: {reasons}"
    error = Partial(what, where, "deploy status shows every device")
    if not as_json:
        print("\n".join(lines), flush=True)
        raise error
    return print_failed(shown, error)


def _show_preview(preview: "Preview", as_json: bool) -> int:
    from deploy.releases.push import preview_as_json

    shown = preview_as_json(preview)
    size = f"{shown['bytes']} bytes in {shown['chunks']} chunks"
    lines = [f"would publish version {preview.version}, {size}, to:"]
    for one in shown["devices"]:
        lines.append(f"  {one['device']} ({one['status']}): {one['version'] or 'nothing'} now")
    lines += [f"  {name}: never heard of, left out" for name in shown["unknown"]]
    print_result(shown, "\n".join(lines), as_json)
    return 0
