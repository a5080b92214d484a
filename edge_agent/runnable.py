"""Which files of a release run on this device: the model, or without an Edge TPU its CPU fallback."""

from dataclasses import dataclass
from typing import Optional

from contract.manifest import ReleaseManifest
from contract.messages import ModelVersion
from edge_agent.slots import Slots
from edge_agent.workers import ModelFiles

_NO_EDGETPU = "no Edge TPU: the CPU fallback answers"


@dataclass(frozen=True)
class RunnableModel:
    """What a worker loads, and what predictions say about it.

    Attributes:
        files: checked files.
        version: names the file that runs.
        degraded: why it is not the model that the release is about, None if it is.
    """

    files: ModelFiles
    version: ModelVersion
    degraded: Optional[str]


def choose_runnable(slots: Slots, manifest: ReleaseManifest, edgetpu: Optional[str]) -> RunnableModel:
    """Return what this device runs of a release.

    Args:
        slots: where the files are.
        manifest: the release.
        edgetpu: which Edge TPU the device has, None for the CPU.

    Raises:
        StorageError: a file is not there or has changed.
    """
    paths = slots.model_files(manifest)
    needs_fallback = manifest.model.compiled and edgetpu is None
    role = "fallback" if needs_fallback else "model"
    return RunnableModel(
        files=ModelFiles(
            model=paths[role],
            labels=paths["labels"],
            preprocessing=paths["preprocessing"],
            golden=paths["golden"],
        ),
        version=ModelVersion(manifest.model.name, manifest.model.version, manifest.blobs[role].sha256),
        degraded=_NO_EDGETPU if needs_fallback else None,
    )
