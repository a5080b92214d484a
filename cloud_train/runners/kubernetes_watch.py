"""Watches the Job of a round until every trainer is done, has failed, or can no longer be waited for."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from cloud_train.runners.jobs import too_late
from cloud_train.runners.kubernetes_api import Cluster, Expired
from cloud_train.runners.kubernetes_job import Round
from cloud_train.runners.kubernetes_state import JobState, PodState, read_job, read_pod


@dataclass(frozen=True)
class Pauses:
    """How long to wait for what.

    Attributes:
        watch_s: a watch is opened again after this; then the Job is looked at, too.
        start_s: what is left may wait so long for a node or a quota while nothing runs.
        hopeless_s: the same for an image that cannot be pulled, or a Secret that is not there.
        late_s: the cluster itself ends a Job at its time limit; after this it is no longer waited for.
    """

    watch_s: int = 10
    start_s: float = 600.0
    hopeless_s: float = 60.0
    late_s: float = 60.0


class JobWatch:
    """What is known of a Job and its pods, and the loop that learns it."""

    def __init__(
        self,
        cluster: Cluster,
        work: Round,
        uid: str,
        pauses: Pauses,
        collect: Callable[[int], str | None],
    ) -> None:
        """Prepare to watch.

        Args:
            cluster: where the Job is.
            work: what it does.
            uid: of the Job; its pods carry it.
            pauses: how long to wait for what.
            collect: called with the index of a trainer whose pod ended well; returns why there is no update.
        """
        self._cluster, self._work, self._uid = cluster, work, uid
        self._pauses, self._collect = pauses, collect
        self._pods: dict[str, PodState] = {}
        self._version: str | None = None  # of the pods; None: they must be listed
        self._last_failures: dict[int, str] = {}
        self._ends: dict[int, str | None] = {}  # by index, None: its update is there
        self._started_s = self._last_sign_s = time.monotonic()

    def wait(self) -> tuple[dict[int, str], bool]:
        """Return why which trainers left no update, and whether the Job may still go on."""
        while True:
            self._look_at_pods()
            raw = self._cluster.job(self._work.name)
            if raw is None:
                return self._give_up("its Job was deleted"), False
            job = read_job(raw)
            self._take(job)
            if job.ending is not None:
                return self._give_up(self._late() if job.is_late else job.ending), False
            if not self._left():
                return self._give_up(""), False
            trouble = self._trouble()
            if trouble is not None:
                return self._give_up(trouble), True

    def _look_at_pods(self) -> None:
        # Returns at the first sign of life, so that the Job is looked at soon after.
        if self._version is None:
            found, self._version = self._cluster.list_pods(self._uid)
            self._pods = {}
            for raw in found:
                self._add(read_pod(raw))
            return
        try:
            with closing(self._cluster.watch_pods(self._uid, self._version, self._pauses.watch_s)) as changes:
                for change in changes:
                    pod = read_pod(change["object"])
                    self._version = pod.version
                    self._add(pod)
                    if change["type"] == "DELETED":
                        del self._pods[pod.name]
                    if pod.phase != "Pending":
                        return
        except Expired:
            self._version = None

    def _add(self, pod: PodState) -> None:
        self._pods[pod.name] = pod
        if pod.phase == "Failed":
            self._last_failures[pod.index] = pod.reason
        if pod.phase != "Pending":
            self._last_sign_s = time.monotonic()

    def _take(self, job: JobState) -> None:
        # Pods tell first who is done, the Job tells who gets no other try.
        done = job.done | {pod.index for pod in self._pods.values() if pod.phase == "Succeeded"}
        for index in sorted(done - self._ends.keys()):
            self._ends[index] = self._collect(index)
        for index in sorted(job.failed - self._ends.keys()):
            if index not in self._last_failures:
                self._version = None
                self._look_at_pods()
            self._ends[index] = self._last_failures.get(index, "it failed, and its pod is gone")

    def _left(self) -> set[int]:
        return set(range(self._work.count)) - self._ends.keys()

    def _trouble(self) -> str | None:
        now_s, waiting = time.monotonic(), [pod for pod in self._pods.values() if not pod.is_over]
        timeout_s = self._work.timeout_s
        if timeout_s is not None and now_s - self._started_s > timeout_s + self._pauses.late_s:
            return self._late()
        if any(pod.phase == "Running" for pod in waiting):
            self._last_sign_s = now_s
        is_hopeless = bool(waiting) and all(pod.is_hopeless for pod in waiting)
        patience_s = self._pauses.hopeless_s if is_hopeless else self._pauses.start_s
        if now_s - self._last_sign_s > patience_s:
            return f"not started within {patience_s:g} s"
        return None

    def _late(self) -> str:
        assert self._work.timeout_s is not None  # only then has the Job a deadline
        return too_late(self._work.timeout_s)

    def _give_up(self, reason: str) -> dict[int, str]:
        # What its pod waits for says more than that it is late.
        pending = [pod for pod in self._pods.values() if pod.phase == "Pending" and pod.reason]
        waits = {pod.index: f"{reason}; {pod.reason}" for pod in pending}
        for index in self._left():
            self._ends[index] = waits.get(index) or self._last_failures.get(index) or reason
        return {index: end for index, end in self._ends.items() if end is not None}
