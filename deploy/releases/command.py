"""A signed order to one device: restart, or roll back. It answers, or it is not there."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from contract.codec import decode, encode
from contract.errors import ContractError
from contract.messages import CommandAnswer
from contract.stamps import format_time
from contract.topics import Topics
from contract.trust import COMMANDS, Command
from deploy.trust.keys import load_key, load_root, reserve_counter
from deploy.trust.signing import sign
from host_cli.errors import Failed, Unreachable, WrongUsage
from host_mqtt.address import Address
from host_mqtt.link import Link

VALID_S = 600.0
ANSWERED_WITHIN_S = 10.0


@dataclass(frozen=True)
class Order:
    """Which device shall do what."""

    fleet: Path
    broker: Address
    base: str
    device: str
    command: str


def send_command(order: Order, answered_within_s: float = ANSWERED_WITHIN_S) -> CommandAnswer:
    """Sign an order, send it, and return what the device says. It is obeyed once, within VALID_S or never.

    Raises:
        WrongUsage: no such device or order can be, or the keys cannot be used.
        GateNotMet: the root does not name the release key.
        Unreachable: the broker or the device does not answer.
        Failed: the device refused.
    """
    topics = Topics(order.base)
    key = load_key(order.fleet, "release", load_root(order.fleet))
    command = _build(order, time.time())
    wire = encode(sign(command, [key]))
    with Link(order.broker) as link:
        link.subscribe([topics.command_response(order.device)])
        link.publish(topics.command(order.device), wire)
        link.flush()
        answer = _await_answer(link, command.counter, answered_within_s)
    if answer is None:
        what = f"{order.device} did not answer in {answered_within_s:.0f} s"
        raise Unreachable(what, str(order.broker), "deploy status shows who is online")
    if answer.error is not None:
        what = f"{order.device} refused: {answer.error.message} ({answer.error.code})"
        raise Failed(what, order.device, answer.error.hint or "look up the code in docs/agent.md")
    return answer


def _build(order: Order, now_s: float) -> Command:
    times = format_time(now_s), format_time(now_s + VALID_S)
    try:
        command = Command(order.device, 1, *times, order.command)
    except ContractError as error:
        hint = "deploy command NAME " + "|".join(COMMANDS)
        raise WrongUsage(str(error), "deploy command", hint) from error
    return replace(command, counter=reserve_counter(order.fleet, now_s))


def _await_answer(link: Link, counter: int, timeout_s: float) -> CommandAnswer | None:
    """Return the answer to this order. One that could not even be read is answered with counter 0."""
    until_s = time.monotonic() + timeout_s
    while (left_s := until_s - time.monotonic()) > 0:
        message = link.receive(left_s)
        if message is None:
            continue
        try:
            answer = decode(CommandAnswer, message.payload)
        except ContractError:
            continue
        if answer.counter == counter or (answer.counter == 0 and answer.error is not None):
            return answer
    return None
