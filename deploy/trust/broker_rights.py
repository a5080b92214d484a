"""Who may write and read what on the broker, and mosquitto's ACL file of it. Pure.

Devices are known by the name in their certificate and get only patterns with that name; each role of the
cloud side is a name that begins with `_`, which no device's can.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from contract.topics import DEFAULT_BASE, Topics

READ, WRITE = "read", "write"
# They stand where a rule holds for every name, and are replaced in the end.
_OWN = "own-name"
_ANY = "any-name"
_ANY_BLOB = "0" * 32
_ANY_NUMBER = 10**9


@dataclass(frozen=True)
class Right:
    """May read or write below a topic filter; `%u` in it is the name of who asks."""

    access: str
    topic: str


def _device(topics: Topics) -> list[Right]:
    """Write what is its own, answer clients; read its orders and what belongs to all.

    A pattern holds for everybody, also for the cloud side: what is without `%u` here, all may do.
    """
    own = _OWN
    writes = [
        *_told_by(topics, own),
        topics.image(own, _ANY),
        topics.sample(own),
        topics.config_reported(own),
        topics.model_need(own),
        topics.command_response(own),
        topics.infer_response(own),
        topics.home_assistant(own),
        topics.client(_ANY) + "/#",
    ]
    reads = [
        topics.status(own),
        topics.model_desired(own),
        topics.config_set(own),
        topics.command(own),
        topics.infer(own),
        topics.feedback(own),
        *_published_by_deploy(topics),
    ]
    return _rights(writes, reads)


def _deploy(topics: Topics) -> list[Right]:
    """Write orders, releases and their files; ask a board that was flashed; read everything."""
    orders = [topics.model_desired(_ANY), topics.config_set(_ANY), topics.command(_ANY), topics.infer(_ANY)]
    return _rights([*orders, *_published_by_deploy(topics), topics.rollout(_ANY)], [topics.base + "/#"])


def _collect(topics: Topics) -> list[Right]:
    """Read what devices predict and report, for a store."""
    return _rights([], [*_told_by(topics, _ANY), topics.sample(_ANY), topics.feedback(_ANY)])


def _watch(topics: Topics) -> list[Right]:
    """Read how the fleet is, what it predicts, how training goes; a marker says when that is complete."""
    fleet = [topics.model_desired(_ANY), topics.rollout(_ANY), topics.client(_ANY)]
    fleet.append(topics.training(_ANY, _ANY))
    return _rights([], [*_told_by(topics, _ANY), *fleet])


def _ask(topics: Topics) -> list[Right]:
    """Ask for predictions, say what was right, and hear the answers."""
    answers = [topics.infer_response(_ANY), topics.client(_ANY) + "/#"]
    return _rights([topics.infer(_ANY), topics.feedback(_ANY)], [topics.status(_ANY), *answers])


def _train(topics: Topics) -> list[Right]:
    """Stream samples, learn from them, and say how well; it reaches no device."""
    bus = [topics.data_info(_ANY), topics.data_part(_ANY, _ANY_NUMBER), topics.data_position(_ANY)]
    both = [*bus, topics.training(_ANY, _ANY)]
    return _rights(both, both)


def _home(topics: Topics) -> list[Right]:
    """Home Assistant: read what its entities show, and change settings."""
    reads = [*_told_by(topics, _ANY), topics.image(_ANY, _ANY), topics.config_reported(_ANY)]
    # A wildcard is a whole level, not a part of one.
    discovery = re.sub(rf"[^/]*{_ANY}", _ANY, topics.home_assistant(_ANY))
    return _rights([topics.config_set(_ANY)], [*reads, discovery])


OPERATORS: dict[str, Callable[[Topics], list[Right]]] = {
    "deploy": _deploy,
    "collect": _collect,
    "watch": _watch,
    "ask": _ask,
    "home": _home,
    "train": _train,
}


def list_rights(base: str = DEFAULT_BASE) -> dict[str, list[Right]]:
    """Return the rights of every principal: `%u` is any device, the others are named."""
    topics = Topics(base)
    return {"%u": _device(topics), **{"_" + role: build(topics) for role, build in OPERATORS.items()}}


def build_acl(base: str = DEFAULT_BASE, blocked: Iterable[str] = ()) -> str:
    """Return mosquitto's ACL file; whatever it does not name is forbidden, to the `blocked` everything."""
    lines = ["# Written by `deploy broker`: who may write and read what. A device is %u."]
    for principal, rights in list_rights(base).items():
        if principal != "%u":
            lines += ["", f"user {principal}"]
        word = "pattern" if principal == "%u" else "topic"
        lines += [f"{word} {right.access} {right.topic}" for right in rights]
    for name in blocked:
        lines += ["", f"user {name}", "topic deny #"]
    return "\n".join(lines) + "\n"


def _told_by(topics: Topics, device: str) -> list[str]:
    """What a device says about itself and its predictions."""
    return [
        topics.status(device),
        topics.info(device),
        topics.prediction(device, _ANY),
        topics.state(device, _ANY),
        topics.telemetry(device),
        topics.error(device),
        topics.model_reported(device),
        topics.model_reported(device, _ANY),
    ]


def _published_by_deploy(topics: Topics) -> list[str]:
    """What is retained for the whole fleet."""
    return [
        topics.channel_desired(_ANY),
        topics.blob_index(_ANY_BLOB),
        topics.blob_chunk(_ANY_BLOB, _ANY_NUMBER),
        topics.trust_root(_ANY_NUMBER),
        topics.trust_timestamp(),
    ]


def _rights(writes: list[str], reads: list[str]) -> list[Right]:
    wildcards = {_OWN: "%u", _ANY: "+", _ANY_BLOB: "+", str(_ANY_NUMBER): "+"}
    found = []
    for access, topics in ((WRITE, writes), (READ, reads)):
        for topic in topics:
            for name, wildcard in wildcards.items():
                topic = topic.replace(name, wildcard)
            found.append(Right(access, topic))
    return found
