"""Writes the Indexed Job of a round: a completion for each trainer, which finds its work by its index."""

import math
import re
from dataclasses import dataclass
from typing import Any

from cloud_train.runners.children import share_of_cores
from cloud_train.runners.kubernetes_settings import KubernetesSettings

TRAINER = "trainer"
RUN_LABEL = "reefline.run"
# What a trainer says itself will not be better the next time: host_cli.errors.Failed and WrongUsage.
FINAL_EXIT_CODES = [1, 2]
# An image's user needs no name, only a number that is not root's.
USER_ID = 10001
# A trainer that is stopped has nothing to save: its update is put in one piece, or not at all.
STOP_SECONDS = 5
_NAME_CHARACTERS = 40  # with a digest and an index still a host name, which has at most 63


@dataclass(frozen=True)
class Owner:
    """The Job that the collector itself runs in: when it is deleted, its trainers' Jobs go with it."""

    name: str
    uid: str


@dataclass(frozen=True)
class Round:
    """What one Job is to do.

    Attributes:
        run: name of the run.
        digest: of everything that the Job does, hex; equal work has an equal name.
        jobs_url: where `jobs.json` lies.
        count: how many trainers.
        timeout_s: seconds for all of them together.
        owner: who takes the Job along.
    """

    run: str
    digest: str
    jobs_url: str
    count: int
    timeout_s: float | None
    owner: Owner | None

    @property
    def name(self) -> str:
        """Return the Job's name: the run's, as far as DNS allows it, and the digest's beginning."""
        return f"{_dns(self.run)}-{self.digest[:10]}"


def build_job(work: Round, settings: KubernetesSettings) -> dict[str, Any]:
    """Return the Job, as JSON types.

    `backoffLimitPerIndex` counts each trainer's failures for itself and `maxFailedIndexes` allows all to
    fail, so no trainer ends another one.

    Source: Kubernetes, Jobs: completion mode, backoff limit per index, pod failure policy; KEP-3850.
    """
    labels = _labels(work)
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": work.count,
        "parallelism": min(work.count, settings.at_once or work.count),
        "backoffLimitPerIndex": settings.retries,
        "maxFailedIndexes": work.count,
        "podFailurePolicy": {"rules": [_no_second_try()]},
        "ttlSecondsAfterFinished": settings.keep_s,
        "template": {"metadata": {"labels": labels}, "spec": _pod(work, settings)},
    }
    if work.timeout_s is not None:
        spec["activeDeadlineSeconds"] = max(1, math.ceil(work.timeout_s))
    metadata: dict[str, Any] = {"name": work.name, "namespace": settings.namespace, "labels": labels}
    if work.owner is not None:
        metadata["ownerReferences"] = [_reference(work.owner)]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _labels(work: Round) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "cloud-train",
        "app.kubernetes.io/part-of": "reefline",
        "app.kubernetes.io/component": TRAINER,
        RUN_LABEL: work.run.rstrip("._-"),
    }


def _no_second_try() -> dict[str, Any]:
    codes = {"containerName": TRAINER, "operator": "In", "values": FINAL_EXIT_CODES}
    return {"action": "FailIndex", "onExitCodes": codes}


def _reference(owner: Owner) -> dict[str, str]:
    return {"apiVersion": "batch/v1", "kind": "Job", "name": owner.name, "uid": owner.uid}


def _pod(work: Round, settings: KubernetesSettings) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(work, settings)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if settings.node_selector:
        pod["nodeSelector"] = settings.node_selector
    return pod


def _container(work: Round, settings: KubernetesSettings) -> dict[str, Any]:
    amounts: dict[str, str] = {"cpu": settings.cpu, "memory": settings.memory}
    if settings.gpus:
        amounts["nvidia.com/gpu"] = str(settings.gpus)
    environment = {**share_of_cores(settings.threads()), "HOME": "/tmp"}
    container: dict[str, Any] = {
        "name": TRAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",  # also for `latest`, which may be on the node only
        "command": ["cloud-train", "work", "--jobs", work.jobs_url],
        # A library counts the cores of the node, not of the pod.
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"requests": amounts, "limits": amounts},
        # The end of the log becomes the pod's message, so nobody needs the right to read logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    if settings.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": settings.secret}}]
    return container


def _dns(name: str) -> str:
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower())[:_NAME_CHARACTERS].strip("-")
    return plain if plain[:1].isalpha() else f"run-{plain}".strip("-")
