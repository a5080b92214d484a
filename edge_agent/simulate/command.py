"""What `edge-agent simulate` does between its options and its result."""

import logging
import signal
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional

from contract.errors import MessageError
from edge_agent.config import AgentConfig, MqttConfig, UpdateConfig
from edge_agent.errors import ConfigError, UnreachableError
from edge_agent.simulate.census import build_document
from edge_agent.simulate.descriptors import require_descriptors
from edge_agent.simulate.faults import DISK_FULL, deal, load_faults
from edge_agent.simulate.fleet import MEMORY, Fleet, Plan
from edge_agent.updates.verify import load_root

_log = logging.getLogger(__name__)
_CALL_S = 5.0
# One loop that serves thousands may be late with a ping; a broker waits half as long again as it was told.
_KEEPALIVE_S = 600
# On a computer that is busy with all of them chunks come late; who asks again too early makes it busier.
_STALL_S = 60.0


class Options(NamedTuple):
    """What the command line says.

    Attributes:
        devices: how many.
        prefix: what their names begin with.
        host: the broker's.
        port: the broker's.
        base: first part of every topic.
        channel: whose releases they take.
        root: the fleet's root of trust.
        disk: MEMORY or a folder.
        faults: a file of rules, None for none.
        seed: deals the faults.
        spared: the version on which no model fails.
        until_active: end when this version has ended everywhere.
    """

    devices: int
    prefix: str
    host: str
    port: int
    base: str
    channel: str
    root: Path
    disk: str
    faults: Optional[Path]
    seed: int
    spared: Optional[str]
    until_active: Optional[str]


def simulate(options: Options, tell_ready: Callable[[], None]) -> Dict[str, Any]:
    """Simulate devices until it is over, SIGTERM or Ctrl-C; return what a script reads.

    Raises:
        ConfigError: an option, the faults or the limit of descriptors is wrong.
        TrustError: the root of trust is not valid.
        UnreachableError: there is no broker.
    """
    require_descriptors(options.devices)
    fleet = Fleet(_read_plan(options))
    _call_broker(options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: fleet.loop.stop())
    started_s = time.monotonic()
    census = fleet.run(tell_ready)
    return build_document(census, time.monotonic() - started_s)


def _read_plan(options: Options) -> Plan:
    names = [f"{options.prefix}-{number:05d}" for number in range(options.devices)]
    faults = load_faults(options.faults) if options.faults else ()
    if options.disk != MEMORY and any(fault.kind == DISK_FULL for fault in faults):
        raise ConfigError("config_value", "only a disk in memory can be full", "leave out --disk")
    try:
        mqtt = MqttConfig(options.host, options.port, options.base, keepalive_s=_KEEPALIVE_S)
        update = UpdateConfig(stall_s=_STALL_S)
        root_path = str(options.root)
        template = AgentConfig(names[0], ".", root_path, channel=options.channel, mqtt=mqtt, update=update)
    except MessageError as error:
        raise ConfigError("config_value", str(error), "correct that value") from error
    try:
        root = load_root(options.root.read_bytes())
    except OSError as error:
        what = f"cannot read the root of trust {options.root}: {error.strerror}"
        raise ConfigError("root_unreadable", what, "name the fleet's with --root") from error
    return Plan(
        names,
        template,
        root,
        deal(faults, names, options.seed),
        options.disk,
        options.spared,
        options.until_active,
    )


def _call_broker(options: Options) -> None:
    try:
        socket.create_connection((options.host, options.port), _CALL_S).close()
    except OSError as error:
        what = f"no broker at {options.host}:{options.port}: {error}"
        raise UnreachableError("broker_unreachable", what, "start one with: deploy broker") from error
