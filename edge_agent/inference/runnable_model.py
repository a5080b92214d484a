"""What a worker runs of a release, and what predictions say about it."""

from dataclasses import dataclass
from typing import Optional

from contract.messages import ModelVersion
from edge_agent.inference.workers import ModelFiles


@dataclass(frozen=True)
class RunnableModel:
    """What a worker loads, and what predictions say about it.

    Attributes:
        files: checked files.
        version: names the file that runs.
        degraded: why it is not the model that the release is about, None if it is.
        limit_ms: how long the release allows an inference to take, as a 95th percentile.
        size_bytes: of the file that runs.
    """

    files: ModelFiles
    version: ModelVersion
    degraded: Optional[str]
    limit_ms: float
    size_bytes: int
