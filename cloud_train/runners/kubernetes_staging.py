"""Brings a round's files where pods can reach them, and the updates back."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cloud_train import store
from cloud_train.runners.jobs import JobList, TrainJob
from cloud_train.runners.kubernetes_settings import KubernetesSettings
from cloud_train.training.recipe import Recipe
from contract.codec import encode
from host_cli import files

_DIGITS = 32


class Staging:
    """The jobs of a round with URLs in place of paths.

    A file on this computer is put into `work` under the hash of its content, once; an update that is wanted
    on this computer has the hash of everything that it is made from. So equal work has equal URLs.
    """

    def __init__(self, work: str, jobs: Sequence[TrainJob], recipe: Recipe) -> None:
        self._work, self._wanted = work, tuple(jobs)
        self._put: dict[str, str] = {}
        self._jobs = JobList(recipe, tuple(self._staged(job, recipe) for job in jobs))

    def digest(self, settings: KubernetesSettings) -> str:
        """Return a hash over everything that the trainers do and with what, 64 hex digits."""
        return hashlib.sha256(encode(self._jobs) + encode(settings)).hexdigest()

    def put_job_list(self, url: str) -> None:
        """Write what `cloud-train work` reads."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "jobs.json")
            files.write_bytes(path, encode(self._jobs))
            store.put(path, url)

    def collect(self, index: int) -> str | None:
        """Bring the update of a trainer where its job wants it; return why there is none, if so."""
        found, wanted = self._jobs.jobs[index].out, self._wanted[index].out
        if not store.exists(found):
            return f"its pod ended well, but there is no update at {found}"
        if found != wanted:
            with tempfile.TemporaryDirectory() as folder:
                store.put(store.fetch(found, Path(folder)), wanted)
        return None

    def _staged(self, job: TrainJob, recipe: Recipe) -> TrainJob:
        staged = replace(job, shards=tuple(map(self._url_of, job.shards)), init=self._url_of(job.init))
        if store.is_remote(job.out):
            return staged
        made_from = encode(JobList(recipe, (replace(staged, out=""),)))
        name = f"update-{hashlib.sha256(made_from).hexdigest()[:_DIGITS]}.npz"
        return replace(staged, out=store.join(self._work, name))

    def _url_of(self, where: str) -> str:
        if store.is_remote(where):
            return where
        if where not in self._put:
            path = store.local_path(where)
            url = store.join(self._work, f"{files.sha256_of(path)[:_DIGITS]}{path.suffix}")
            if not store.exists(url):
                store.put(path, url)
            self._put[where] = url
        return self._put[where]
