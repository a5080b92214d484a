"""Checks of the way to the broker: name, port, session, rights. Each has its own short time limit."""

import os
import queue
import socket
import threading
import time
from typing import Any, Optional, Tuple

from contract.topics import OFFLINE, Topics
from edge_agent.doctor.findings import Check, Finding, fail, ok, skipped
from edge_agent.doctor.visit import Visit
from edge_agent.events import Connected, Delivered, Disconnected, MessageArrived, SubscriptionAnswered

_NAME_LIMIT_S = 2.0
_PORT_LIMIT_S = 2.0
_SESSION_LIMIT_S = 4.0
_RIGHTS_LIMIT_S = 2.0
_RETAINED_LIMIT_S = 0.5
_SHORTEST_WAIT_S = 0.05
# An older broker refuses MQTT 5 first, and takes MQTT 3.1.1.
_TRIES = 2


def check_name(visit: Visit) -> Finding:
    """The broker's name has an address."""
    mqtt = visit.settings.mqtt
    found = _resolve(mqtt.host, mqtt.port)
    if isinstance(found, list):
        visit.addresses = found
        return ok(f"{mqtt.host} is {found[0][4][0]}")
    return fail(f"{mqtt.host} has no address: {found}", f"correct mqtt.host, or: ping {mqtt.host}")


def check_port(visit: Visit) -> Finding:
    """Something listens there."""
    mqtt = visit.settings.mqtt
    until_s = time.monotonic() + _PORT_LIMIT_S
    reasons = []
    for family, kind, protocol, _, address in visit.addresses:
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(max(_SHORTEST_WAIT_S, until_s - time.monotonic()))
            try:
                connection.connect(address)
                return ok(f"{address[0]} port {address[1]} answers")
            except OSError as error:
                reasons.append(f"{address[0]} port {address[1]}: {error}")
    hint = f"start the broker, correct mqtt.port, or open the firewall: nc -vz {mqtt.host} {mqtt.port}"
    return fail("; ".join(reasons), hint)


def check_session(visit: Visit) -> Finding:
    """The broker takes us; by another name, so that a running agent keeps its session and its last will."""
    from edge_agent.link import Link

    mqtt, device = visit.settings.mqtt, visit.settings.device
    visit.link = Link(mqtt, device, visit.mailbox, f"{device}-doctor-{os.getpid()}")
    visit.link.start()
    reason = "it does not answer CONNECT"
    for _ in range(_TRIES):
        event = _await(visit, (Connected, Disconnected), _SESSION_LIMIT_S / _TRIES)
        if isinstance(event, Connected):
            return ok(f"accepted by {mqtt.host}")
        reason = event.reason if event is not None else reason
    return fail(reason, "see the broker's log; is this device known to it?")


def check_rights(visit: Visit) -> Finding:
    """The broker lets us say that we are online. What it believes already is said again, not retained."""
    topic = Topics(visit.settings.mqtt.base).status(visit.settings.device)
    visit.link.subscribe([topic])
    _await(visit, (SubscriptionAnswered,), _RIGHTS_LIMIT_S)
    believed = _await(visit, (MessageArrived,), _RETAINED_LIMIT_S)
    visit.link.publish(topic, believed.payload if believed else OFFLINE)
    answer = _await(visit, (Delivered,), _RIGHTS_LIMIT_S)
    if answer is None:
        return skipped(f"the broker does not say whether {topic} may be written")
    if answer.refusal:
        return fail(f"{topic} may not be written: {answer.refusal}", "correct the broker's ACL file")
    return ok(f"{topic} may be written")


CHECKS: Tuple[Check, ...] = (
    Check("broker name", check_name, "config"),
    Check("broker port", check_port, "broker name"),
    Check("broker session", check_session, "broker port"),
    Check("broker rights", check_rights, "broker session"),
)


def _resolve(host: str, port: int) -> Any:
    """Return the addresses, or why there are none. The resolver itself may take half a minute to give up."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        return answers.get(timeout=_NAME_LIMIT_S)
    except queue.Empty:
        return f"no answer in {_NAME_LIMIT_S:.0f} s"


def _await(visit: Visit, kinds: Tuple[type, ...], limit_s: float) -> Optional[Any]:
    """Return the link's next event of these kinds, None if there is none in time."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        event = visit.mailbox.get(max(0.0, until_s - time.monotonic()))
        if isinstance(event, MessageArrived):
            event.acknowledge()
        if isinstance(event, kinds):
            return event
    return None
