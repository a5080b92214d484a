"""Reads what the cluster says of a Job and its pods: who is done, who failed, who waits, and why."""

import json
import re
from dataclasses import dataclass
from typing import Any

from cloud_train.runners.jobs import error_told_in
from cloud_train.runners.kubernetes_job import TRAINER

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
# Waiting reasons of a container that time alone rarely cures: the image, its name, or a Secret is wrong.
HOPELESS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
}
_SHOWN_CHARACTERS = 400
_INDEXES = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class JobState:
    """What a Job's status says.

    Attributes:
        done: indexes that succeeded.
        failed: indexes that failed for good.
        ending: None while it goes on; else why it is over, one line.
        is_finished: it is over, or being deleted.
        is_late: it was ended by its deadline.
    """

    done: frozenset[int]
    failed: frozenset[int]
    ending: str | None
    is_finished: bool
    is_late: bool


@dataclass(frozen=True)
class PodState:
    """What a pod's status says.

    Attributes:
        index: which trainer it is.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        reason: why it waits or failed, one line; empty when nobody says.
        is_hopeless: it waits for something that will hardly come.
        version: of the pod, from which a watch goes on.
    """

    name: str
    index: int
    phase: str
    reason: str
    is_hopeless: bool
    version: str

    @property
    def is_over(self) -> bool:
        """Whether its trainer has ended."""
        return self.phase in ("Succeeded", "Failed")


def read_job(raw: dict[str, Any]) -> JobState:
    """Read a Job as the API gives it."""
    status = raw.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or [] if one["status"] == "True"}
    ended = conditions.get("Complete") or conditions.get("Failed")
    reason = str((ended or {}).get("reason", ""))
    return JobState(
        done=read_indexes(status.get("completedIndexes", "")),
        failed=read_indexes(status.get("failedIndexes", "")),
        ending=None if ended is None else f"its Job ended: {reason or ended['type']}",
        is_finished=ended is not None or "deletionTimestamp" in raw["metadata"],
        is_late=reason == "DeadlineExceeded",
    )


def read_indexes(text: str) -> frozenset[int]:
    """Read a list of indexes as a Job's status writes it: `1,3-5`."""
    found = _INDEXES.findall(text or "")
    return frozenset(index for low, high in found for index in range(int(low), int(high or low) + 1))


def read_pod(raw: dict[str, Any]) -> PodState:
    """Read a pod as the API gives it."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    phase = status.get("phase", "Unknown")
    waiting = _container(status).get("waiting") or {}
    reason = _why_failed(status) if phase == "Failed" else _why_waiting(status, waiting)
    return PodState(
        name=metadata["name"],
        index=int(metadata["annotations"][INDEX_ANNOTATION]),
        phase=phase,
        reason=reason,
        is_hopeless=waiting.get("reason") in HOPELESS,
        version=metadata["resourceVersion"],
    )


def _container(status: dict[str, Any]) -> dict[str, Any]:
    states = [one for one in status.get("containerStatuses") or [] if one.get("name") == TRAINER]
    return dict(states[0].get("state") or {}) if states else {}


def _why_failed(status: dict[str, Any]) -> str:
    # The kubelet's word (Evicted, DeadlineExceeded) comes before the container's: it is the cause.
    ended = _container(status).get("terminated") or {}
    told = _told(ended.get("message", ""))
    if status.get("reason"):
        return _line(f"{status['reason']}: {status.get('message', '')}")
    if ended.get("reason") == "OOMKilled":
        return "out of memory (OOMKilled): it needs more than [runner] memory"
    if told is not None:
        return _line(told)
    code = f"exit code {ended['exitCode']}" if "exitCode" in ended else "its container never ran"
    last = str(ended.get("message", "")).strip()[-_SHOWN_CHARACTERS:]
    return _line(f"{code}; {last}" if last else code)


def _told(message: str) -> str | None:
    # The program's own words among the last lines of its log.
    for line in reversed(str(message).splitlines()):
        try:
            told = error_told_in(json.loads(line))
        except ValueError:
            continue
        if told is not None:
            return told
    return None


def _why_waiting(status: dict[str, Any], waiting: dict[str, Any]) -> str:
    if waiting.get("reason"):
        return _line(f"{waiting['reason']}: {waiting.get('message', '')}")
    for one in status.get("conditions") or []:
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return _line(f"{one.get('reason', '')}: {one.get('message', '')}")
    return ""


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(": ")[: 2 * _SHOWN_CHARACTERS]
