"""Addresses of brokers."""

import pytest

from host_cli.errors import WrongUsage
from host_mqtt.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mqtt://127.0.0.1:1884", "127.0.0.1", 1884),
        ("mqtt://broker", "broker", 1883),
        ("mqtt://[::1]:5", "::1", 5),
    ],
)
def test_an_address_is_read_and_written(text, host, port):
    """Without a port it is MQTT's own."""
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1:1883", "http://x", "mqtt://", "mqtt://x:99999", "mqtt://x/y"]
)
def test_anything_else_is_wrong_usage(text):
    """The error says how to write one."""
    with pytest.raises(WrongUsage):
        Address.parse(text)


def test_a_password_is_refused_and_not_repeated():
    """A command line is no place for a secret."""
    with pytest.raises(WrongUsage) as caught:
        Address.parse("mqtt://me:hunter2@x")
    assert "hunter2" not in str(vars(caught.value))


def test_mqtts_is_tls():
    """With a port of its own."""
    address = Address.parse("mqtts://broker")
    assert address.tls and address.port == 8883 and str(address) == "mqtts://broker:8883"
    assert Address.parse("mqtts://broker:1").port == 1
