"""A broker that needs no installation: rumqttd from the iotcore wheel, MQTT 3.1.1, nothing kept on disk.

It remembers retained messages only while it runs, and answers a wildcard subscription with at most 100
retained messages. Good for a demonstration and a few boards, not for a fleet.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from host_cli.errors import Failed, WrongUsage
from host_mqtt.address import Address


@contextmanager
def run_embedded(address: Address, max_payload_bytes: int) -> Iterator[Callable[[], bool]]:
    """Run the embedded broker; give the block a function that says whether it still runs.

    Raises:
        WrongUsage: the wheel is not installed.
        Failed: it does not start.
    """
    try:
        from iotcore import Broker
    except ImportError as error:
        hint = "install mosquitto, or pip install 'reefline[embedded-broker]'"
        raise WrongUsage("there is no broker on this computer", "PATH", hint) from error
    broker = Broker(port=address.port, listen=address.host, max_payload_size=max_payload_bytes)
    try:
        broker.start()
    except (OSError, RuntimeError) as error:
        raise Failed(
            f"the embedded broker did not start: {error}", str(address), "try another --port"
        ) from error
    try:
        yield lambda: bool(broker.is_running)
    finally:
        broker.stop()
