"""Whom a release is for: named devices, or a channel. Pure rules over what devices said."""

from dataclasses import dataclass

from contract.messages import Problem
from contract.topics import Topics
from deploy.fleets.fleet import Device, Fleet, Outcome
from host_cli.errors import Unreachable, WrongUsage

MAX_NAMED = 64


@dataclass(frozen=True)
class Targets:
    """Who takes part.

    `pinned` are the devices that get a release of their own, none for a whole channel. `waited_for` are
    those whose reports count, `unknown` those that nobody ever heard of, `freed` those whose own release is
    taken away.
    """

    pinned: tuple[str, ...]
    waited_for: tuple[str, ...]
    unknown: tuple[Outcome, ...] = ()
    remarks: tuple[str, ...] = ()
    freed: tuple[str, ...] = ()


def choose(fleet: Fleet, names: tuple[str, ...], channel: str, wait: bool) -> Targets:
    """Choose by names, or the devices of `channel` that are online when there are no names.

    Raises:
        WrongUsage: a name cannot be a device, there are too many, or one follows another channel.
        Unreachable: there is nobody to wait for.
    """
    return _choose_named(fleet, names, channel) if names else _choose_channel(fleet, channel, wait)


def _choose_named(fleet: Fleet, names: tuple[str, ...], channel: str) -> Targets:
    if len(names) > MAX_NAMED:
        raise WrongUsage(f"{len(names)} devices, at most {MAX_NAMED} can be named", "--to", "use --all")
    devices = [fleet.get(name) for name in dict.fromkeys(names)]
    known = [device for device in devices if device.is_known]
    unknown = [device.name for device in devices if not device.is_known]
    if not known:
        hint = "deploy status shows who is there; start the board first"
        raise Unreachable(f"never heard of {', '.join(unknown)}", "--to", hint)
    for device in known:
        if device.info is not None and device.info.channel != channel:
            what = f"{device.name} follows channel {device.info.channel}, not {channel}"
            raise WrongUsage(what, "--to", f"give --channel {device.info.channel}")
    found = tuple(device.name for device in known)
    lost = tuple(Outcome(name, "unknown", _never_heard_of(name), 0.0) for name in unknown)
    return Targets(found, found, lost, tuple(f"never heard of {name}: left out" for name in unknown))


def _choose_channel(fleet: Fleet, channel: str, wait: bool) -> Targets:
    online = [device for device in fleet.on_channel(channel) if device.online]
    pinned = [device for device in online if device.is_pinned(channel)]
    free = tuple(device.name for device in online if device not in pinned)
    remarks = tuple(_say_pinned(device) for device in pinned)
    if wait and not free:
        what = (
            f"no free device of channel {channel} is online"
            if remarks
            else f"no device of channel {channel} is online"
        )
        raise Unreachable(what, "--all", "start a board, or publish for later with --no-wait")
    return Targets((), free, (), remarks)


def _say_pinned(device: Device) -> str:
    ways = f"--to {device.name} changes it, deploy unpin {device.name} takes it away"
    return f"{device.name} has a release of its own and keeps it: {ways}"


def _never_heard_of(name: str) -> Problem:
    return Problem("unknown_device", f"never heard of {name}", "deploy status shows who is there")


def names_with_tag(fleet: Fleet, tag: str) -> tuple[str, ...]:
    """Return the devices that carry a tag, by name.

    Raises:
        Unreachable: nobody does.
        WrongUsage: more do than one release can name.
    """
    found = tuple(one.name for one in fleet.known() if one.info is not None and tag in one.info.tags)
    if not found:
        raise Unreachable(f"no device carries the tag {tag}", "--tag", "deploy status shows who is there")
    if len(found) > MAX_NAMED:
        what = f"{len(found)} devices carry the tag {tag}, at most {MAX_NAMED} can be named"
        raise WrongUsage(what, "--tag", "give them a channel of their own, and --all --channel NAME")
    return found


def check_names(text: str, topics: Topics) -> tuple[str, ...]:
    """Read a comma-separated list of device names.

    Raises:
        TopicError: a name that no device can have.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        topics.status(name)
    return names
