"""A signed order to a device: what it answers is told, and that it does not answer is told too."""

import pytest

from contract.codec import decode, encode
from contract.envelope import Envelope
from contract.messages import CommandAnswer, Problem
from contract.trust import Command
from deploy.releases.command import VALID_S, Order, send_command
from deploy.trust.keys import load_root
from deploy.trust.signing import verify
from host_cli.errors import Failed, Unreachable, WrongUsage


def answering(device, error=None, wrong_first=False):
    """Have a device take one order and answer it; return where the order is put."""
    taken = []

    def story(fake):
        wire = fake._take()
        taken.append(decode(Envelope, wire))
        counter = taken[0].open(Command).counter
        topic = fake.topics.command_response(fake.name)
        if wrong_first:
            fake.send(topic, b"{}", retain=False)
            fake.send(topic, encode(CommandAnswer(counter - 1, "ok")), retain=False)
        fake.send(topic, encode(CommandAnswer(counter, "error" if error else "ok", error)), retain=False)

    device.client.subscribe(device.topics.command(device.name), 1)
    device.play(story)
    return taken


def test_an_order_is_signed_and_its_answer_returned(fleet, address, base, device):
    """By a release key, for this device, for ten minutes; what answers other orders is left."""
    taken = answering(device, wrong_first=True)
    answer = send_command(Order(fleet, address, base, device.name, "restart"))
    root, command = load_root(fleet), taken[0].open(Command)
    verify(taken[0], root.roles["release"], root.keys)
    assert (command.device, command.command, command.counter) == ("reef-1", "restart", answer.counter)
    assert VALID_S == 600


def test_a_refusal_is_told(fleet, address, base, device):
    """With the device's own words."""
    answering(device, Problem("no_last_known_good", "there is nothing to go back to", "push a release"))
    with pytest.raises(Failed, match=r"nothing to go back to \(no_last_known_good\)") as caught:
        send_command(Order(fleet, address, base, device.name, "rollback"))
    assert caught.value.hint == "push a release"


def test_a_device_that_does_not_answer_is_not_reachable(fleet, address, base):
    """Exit code 3; the order is not retained, so nobody obeys it later."""
    with pytest.raises(Unreachable, match="reef-9 did not answer"):
        send_command(Order(fleet, address, base, "reef-9", "restart"), answered_within_s=0.2)


@pytest.mark.parametrize(("device", "command"), [("Reef", "restart"), ("+", "restart"), ("reef-1", "format")])
def test_an_order_that_cannot_be_is_refused_before_anything_is_sent(fleet, address, base, device, command):
    """And no counter is spent on it."""
    with pytest.raises(WrongUsage):
        send_command(Order(fleet, address, base, device, command))
    assert not (fleet / "command_counter").exists()
