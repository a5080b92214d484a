"""Runs trainers on Kubernetes: a round is one Indexed Job, and each of its pods one trainer."""

import sys
import time
from collections.abc import Sequence

from cloud_train import store
from cloud_train.runners.jobs import Failure, TrainJob
from cloud_train.runners.kubernetes_api import Cluster
from cloud_train.runners.kubernetes_job import Owner, Round, build_job
from cloud_train.runners.kubernetes_settings import KubernetesSettings
from cloud_train.runners.kubernetes_staging import Staging
from cloud_train.runners.kubernetes_state import read_job
from cloud_train.runners.kubernetes_watch import JobWatch, Pauses
from cloud_train.training.recipe import Recipe
from host_cli.errors import Failed, Unreachable, WrongUsage
from host_cli.progress import Advance

STOP_PATIENCE_S = 5.0
DELETION_PATIENCE_S = 60.0
DELETION_PAUSE_S = 0.2


class KubernetesRunner:
    """Trains jobs as pods of Indexed Jobs.

    A Job is named after everything that it does. So a run that was interrupted and is resumed finds the Job
    of its round, and waits for it instead of starting another one.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: KubernetesSettings,
        run: str,
        work: str,
        *,
        owner: Owner | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        """Prepare for a run.

        Args:
            cluster: where the pods run.
            settings: what they run, and with how much.
            run: name of the run.
            work: URL of a folder for what trainers read and write; settings may name another one.
            owner: the Job that we run in, if we do.
            pauses: how long to wait for what.

        Raises:
            WrongUsage: the folder is on this computer, where pods cannot reach it.
        """
        self._work = settings.work or work
        if not store.is_remote(self._work):
            hint = "--out s3://BUCKET/FOLDER, or [runner] work"
            raise WrongUsage("pods cannot reach the files of this computer", self._work, hint)
        self._cluster, self._settings, self._run, self._owner = cluster, settings, run, owner
        self._pauses = pauses or Pauses(start_s=settings.start_timeout_s)

    def train(
        self, jobs: Sequence[TrainJob], recipe: Recipe, advance: Advance, *, timeout_s: float | None
    ) -> list[Failure]:
        """Run every job as a pod; see `cloud_train.runners.jobs.Runner`."""
        if not jobs:
            return []
        staging = Staging(self._work, jobs, recipe)
        digest = staging.digest(self._settings)
        jobs_url = store.join(self._work, f"jobs-{digest[:10]}.json")
        staging.put_job_list(jobs_url)
        work = Round(self._run, digest, jobs_url, len(jobs), timeout_s, self._owner)

        def collect(index: int) -> str | None:
            reason = staging.collect(index)
            if reason is None:
                advance(jobs[index].examples * jobs[index].epochs)
            return reason

        uid = self._begin(work)
        try:
            reasons, goes_on = JobWatch(self._cluster, work, uid, self._pauses, collect).wait()
        except KeyboardInterrupt:
            self._stop(work.name)
            raise
        if goes_on:
            self._stop(work.name)
        return [Failure(job.client, reasons[index]) for index, job in enumerate(jobs) if index in reasons]

    def _begin(self, work: Round) -> str:
        # The uid of the Job: a new one, or the one that an interrupted run left going.
        uid = self._cluster.create_job(build_job(work, self._settings))
        if uid is None:
            found = self._cluster.job(work.name)
            if found is not None and not read_job(found).is_finished:
                self._say(work, "goes on")
                return str(found["metadata"]["uid"])
            self._remove(work.name)
            uid = self._cluster.create_job(build_job(work, self._settings))
        if uid is None:
            raise Failed("somebody else created the same Job", work.name, "run one collector for a run")
        self._say(work, f"{work.count} trainers")
        return uid

    def _say(self, work: Round, what: str) -> None:
        print(f"Job {self._settings.namespace}/{work.name}: {what}", file=sys.stderr, flush=True)

    def _remove(self, name: str) -> None:
        # One that is over, so that its name can be used again.
        self._cluster.delete_job(name)
        until_s = time.monotonic() + DELETION_PATIENCE_S
        while self._cluster.job(name) is not None:
            if time.monotonic() > until_s:
                raise Failed("an old Job does not go away", name, f"kubectl describe job {name}")
            time.sleep(DELETION_PAUSE_S)

    def _stop(self, name: str) -> None:
        try:
            self._cluster.delete_job(name, STOP_PATIENCE_S)
        except Unreachable as error:
            hint = f"kubectl delete job {name} -n {self._settings.namespace}"
            print(f"the Job goes on, {error.what}; {hint}", file=sys.stderr, flush=True)
