"""All sources that the configuration names, started and stopped together."""

from pathlib import Path
from typing import Callable, List, Tuple

from contract.messages import Problem
from edge_agent.config import AgentConfig
from edge_agent.events import InferenceAsked
from edge_agent.source_config import CAMERA, FOLDER
from edge_agent.sources.camera import Camera
from edge_agent.sources.folder import Folder, Skip
from edge_agent.sources.source import Source


class Sources:
    """The folders and cameras of one agent."""

    def __init__(self, config: AgentConfig, ask: Callable[[InferenceAsked], None], skip: Skip) -> None:
        """Prepare.

        Args:
            config: which there are.
            ask: takes a question from any thread; must not block, raises `queue.Full` when there is no room.
            skip: counts what is not asked about, by (source, reason); called from any thread.
        """
        self._sources: List[Source] = []
        for name, each in config.sources.items():
            if each.kind == FOLDER:
                self._sources.append(Folder(name, each, ask, state_dir=Path(config.state_dir), skip=skip))
            elif each.kind == CAMERA:
                self._sources.append(Camera(name, each, ask))

    def start(self) -> None:
        """Let each begin."""
        for source in self._sources:
            source.start()

    def stop(self) -> None:
        """Let each end, and wait for it a little."""
        for source in self._sources:
            source.stop()
        for source in self._sources:
            source.join()

    def problems(self) -> Tuple[Problem, ...]:
        """Return what is wrong with the sources now; may be called from any thread."""
        found = (source.problem for source in self._sources)
        return tuple(problem for problem in found if problem is not None)
