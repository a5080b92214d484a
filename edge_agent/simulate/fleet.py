"""The story of a rehearsal: make the devices, connect them, serve until it is over, count."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

from contract.trust import Root
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.disk import Disk
from edge_agent.simulate.census import Census, count, has_ended, is_lost
from edge_agent.simulate.device import Device, World
from edge_agent.simulate.faults import Fault
from edge_agent.simulate.loop import Loop
from edge_agent.simulate.loop_link import Gate
from edge_agent.simulate.memory_disk import MemoryDisk, Pool

MEMORY = "memory"
# The agent ticks four times a second; thousands of them must not eat a core with that alone.
_MIN_TICK_S = 0.25
_MAX_TICKS_PER_S = 4000.0
_LOOK_S = 0.25
_GOODBYE_S = 0.5
_SETTLE_S = 20.0


class Plan(NamedTuple):
    """What is simulated.

    Attributes:
        names: the devices.
        template: the settings of all of them; `device` and `state_dir` are each one's own.
        root: the root of trust.
        faults: what is wrong with which device.
        disk: MEMORY, or the folder for all state folders.
        spared: the version on which no model fails.
        until_active: end when this version has ended everywhere; None for when told to stop.
    """

    names: List[str]
    template: AgentConfig
    root: Root
    faults: Dict[str, Fault]
    disk: str = MEMORY
    spared: Optional[str] = None
    until_active: Optional[str] = None


class Fleet:
    """Every device of a plan, on one loop.

    Attributes:
        devices: all of them.
        loop: drives them; `stop` ends the rehearsal.
    """

    def __init__(self, plan: Plan) -> None:
        """Make the devices, switched off.

        Raises:
            StorageError: a folder cannot be used.
        """
        self._plan = plan
        self.loop = Loop()
        self._world = World(plan.root, Clock(), self.loop, Gate(self.loop), plan.spared)
        self._pool = Pool()
        self.devices = [self._build_device(name) for name in plan.names]
        self._tick_s = max(_MIN_TICK_S, len(self.devices) / _MAX_TICKS_PER_S)

    def run(self, tell_ready: Callable[[], None]) -> Census:
        """Serve until the version that is waited for has ended, or `loop.stop`.

        Args:
            tell_ready: called once, when every device has been connected.
        """
        for place, device in enumerate(self.devices):
            device.start()
            self.loop.every(self._tick_s, device.tick, first_s=self._tick_s * place / len(self.devices))
        self._watch(tell_ready)
        self.loop.run()
        self._settle()
        census = count(self.devices, self._plan.spared or "")
        for device in self.devices:
            device.stop()
        self.loop.run_for(_GOODBYE_S)
        self.loop.close()
        return census

    def _build_device(self, name: str) -> Device:
        plan = self._plan
        is_memory = plan.disk == MEMORY
        folder = Path("/simulated" if is_memory else plan.disk) / name
        config = replace(plan.template, device=name, state_dir=str(folder))
        disk = MemoryDisk(self._pool) if is_memory else Disk()
        return Device(config, self._world, disk, plan.faults.get(name))

    def _settle(self) -> None:
        """Let every device end what it has begun, if that does not take too long."""
        ends_s = time.monotonic() + _SETTLE_S
        while any(is_lost(device) for device in self.devices) and time.monotonic() < ends_s:
            self.loop.run_for(_LOOK_S)

    def _watch(self, tell_ready: Callable[[], None]) -> None:
        """Look now and then whether everybody is there, and whether it is over."""
        is_told = False

        def look() -> None:
            nonlocal is_told
            if not is_told and all(device.was_connected for device in self.devices):
                is_told = True
                tell_ready()
            version = self._plan.until_active
            if version is not None and all(has_ended(device, version) for device in self.devices):
                self.loop.stop()

        self.loop.every(_LOOK_S, look)
