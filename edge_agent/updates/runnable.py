"""Which files of a release run on this device: the model, or without an Edge TPU its CPU fallback."""

from typing import Optional

from contract.manifest import ReleaseManifest
from contract.messages import ModelVersion
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.inference.workers import ModelFiles
from edge_agent.updates.slots import Slots

_NO_EDGETPU = "no Edge TPU: the CPU fallback answers"
_MAX_REASON = 200


def choose_runnable(slots: Slots, manifest: ReleaseManifest, edgetpu: Optional[str]) -> RunnableModel:
    """Return what this device runs of a release.

    Args:
        slots: where the files are.
        manifest: the release.
        edgetpu: which Edge TPU the device has, None for the CPU.

    Raises:
        StorageError: a file is not there or has changed.
    """
    if not manifest.model.compiled:
        return _choose(slots, manifest, "model")
    if edgetpu is None:
        return choose_fallback(slots, manifest, _NO_EDGETPU)
    return _choose(slots, manifest, "model", edgetpu=edgetpu)


def choose_fallback(slots: Slots, manifest: ReleaseManifest, why: str) -> RunnableModel:
    """Return what the CPU runs of a compiled release; predictions say `why`.

    Raises:
        StorageError: a file is not there or has changed.
    """
    return _choose(slots, manifest, "fallback", degraded=why[:_MAX_REASON])


def _choose(
    slots: Slots,
    manifest: ReleaseManifest,
    role: str,
    *,
    edgetpu: Optional[str] = None,
    degraded: Optional[str] = None,
) -> RunnableModel:
    paths = slots.model_files(manifest)
    return RunnableModel(
        files=ModelFiles(
            model=paths[role],
            labels=paths["labels"],
            preprocessing=paths["preprocessing"],
            golden=paths["golden"],
            edgetpu=edgetpu,
        ),
        version=ModelVersion(manifest.model.name, manifest.model.version, manifest.blobs[role].sha256),
        degraded=degraded,
        limit_ms=manifest.selftest.p95_ms,
        size_bytes=manifest.blobs[role].size,
    )
