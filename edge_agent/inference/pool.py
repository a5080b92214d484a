"""Every inference process of the agent: a model for the CPU gets its own, those on the Edge TPU share one."""

import threading
from pathlib import Path
from typing import Dict, Iterable, Optional

from edge_agent.config import InferenceConfig
from edge_agent.events import DeviceReset
from edge_agent.inference import device_reset
from edge_agent.inference.host import Host
from edge_agent.inference.workers import ModelFiles, Post, Worker


class WorkerPool:
    """Starts workers and knows those that run. It belongs to the agent's loop."""

    def __init__(self, post: Post, root: Path = Path("/"), spare: Optional[Host] = None) -> None:
        """Prepare.

        Args:
            post: takes the workers' events, from other threads; must not block.
            root: where /sys begins.
            spare: a prepared process, for the first model.
        """
        self._post = post
        self._root = root
        self._spare = spare
        self._edgetpu: Optional[Host] = None
        self._workers: Dict[int, Worker] = {}
        self._started = 0

    def start(self, files: ModelFiles, limits: InferenceConfig) -> Worker:
        """Start a worker; its number is new.

        Raises:
            ModelError: no file descriptor or thread is left for it.
        """
        self._started += 1
        worker = Worker.start(self._started, files, limits, self._post, self._choose_host(files))
        self._workers = {number: other for number, other in self._workers.items() if other.is_running}
        self._workers[worker.number] = worker
        return worker

    def pids(self) -> Iterable[int]:
        """Return the process ids of those that run."""
        return {worker.pid for worker in self._workers.values() if worker.is_running and worker.pid}

    def is_wedged(self) -> bool:
        """Say whether one of the threads hangs that would tell the loop what became of a process."""
        return any(worker.is_wedged for worker in self._workers.values())

    def reset_device(self) -> None:
        """Reset the Edge TPU, in a thread; `DeviceReset` follows. All models on it are lost."""
        threading.Thread(target=self._reset_device, name="device-reset", daemon=True).start()

    def _reset_device(self) -> None:
        # The driver must not be in use while its device is reset.
        if self._edgetpu is not None:
            self._edgetpu.end()
        self._post(DeviceReset(device_reset.reset(self._root)))

    def stop(self) -> None:
        """End all processes; no event follows."""
        for worker in self._workers.values():
            worker.stop()
        if self._spare is not None:
            self._spare.end()

    def _choose_host(self, files: ModelFiles) -> Host:
        if files.edgetpu is None:
            return self._take_host()
        if self._edgetpu is None:
            self._edgetpu = self._take_host()
        return self._edgetpu

    def _take_host(self) -> Host:
        host, self._spare = self._spare or Host(), None
        return host
