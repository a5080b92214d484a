"""A cluster to run pods on, behind a stand-in of the Kubernetes API, and a real S3 server beside it."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_train.runners.jobs import TrainJob
from cloud_train.runners.kubernetes_api import Cluster, connect
from cloud_train.runners.kubernetes_runner import KubernetesRunner
from cloud_train.runners.kubernetes_settings import KubernetesSettings
from cloud_train.runners.kubernetes_watch import Pauses
from cloud_train.training.recipe import Recipe
from tests.fakes.kubernetes_api import KubernetesApi
from tests.fakes.kubernetes_cluster import Behaviour, FakeCluster
from tests.fakes.object_store import ObjectStore

SETTINGS = KubernetesSettings(image="reefline-train:1", secret="store-keys")


def pytest_configure(config: pytest.Config) -> None:
    # The client asks urllib3 2 for what it will not have some day, whenever the API server refuses something.
    config.addinivalue_line("filterwarnings", "ignore:HTTPResponse.getheaders:DeprecationWarning")


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    found = ObjectStore()
    yield found
    found.close()


@pytest.fixture
def bucket(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket, for which the environment holds the keys."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    object_store.empty()
    return object_store.url


class Reef:
    """A cluster, the way to it, and what its pods do."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self.does: dict[tuple[int, int], Behaviour] = {}  # by index and try; else the pod ends well
        self.folder, self.bucket, self._default = folder, bucket, Behaviour()
        self.cluster = FakeCluster(self._behave, folder, Path(sys.executable).parent)
        self.cluster.secrets["store-keys"] = {}
        self.api = KubernetesApi(self.cluster)
        self.kubeconfig = str(self.api.write_kubeconfig(folder / "kubeconfig"))
        self.pictures = 0.0

    def connect(self, patience_s: float = 5.0, settings: KubernetesSettings = SETTINGS) -> Cluster:
        return connect(settings, self.kubeconfig, patience_s)

    def runner(self, settings: KubernetesSettings = SETTINGS, patience_s: float = 5.0) -> KubernetesRunner:
        pauses = Pauses(watch_s=1, start_s=settings.start_timeout_s, hopeless_s=0.3, late_s=0.5)
        return KubernetesRunner(
            self.connect(patience_s), settings, "a.run", f"{self.bucket}/work", pauses=pauses
        )

    def jobs(self, count: int) -> list[TrainJob]:
        """Jobs whose updates are in the store already, as if pods had put them there."""
        from cloud_train import store

        (self.folder / "update").write_bytes(b"weights")
        outs = [f"{self.bucket}/out/shard-{index}.npz" for index in range(count)]
        for out in outs:
            store.put(self.folder / "update", out)
        return [
            TrainJob(f"shard-{index}", ("s3://b/s.npz",), "s3://b/i.npz", 1, out, 10 + index)
            for index, out in enumerate(outs)
        ]

    def train(
        self, count: int, timeout_s: float | None = None, runner: KubernetesRunner | None = None
    ) -> dict[str, str]:
        """Run so many trainers; return why which of them failed."""
        found = (runner or self.runner()).train(self.jobs(count), Recipe(), self.advance, timeout_s=timeout_s)
        return {one.client: one.reason for one in found}

    def advance(self, pictures: float) -> None:
        self.pictures += pictures

    def job_names(self) -> list[str]:
        return [job["metadata"]["name"] for job in self.cluster.objects.all("jobs")]

    def runs_commands(self, keys: dict[str, str]) -> None:
        """From now on pods are processes; the keys of the store come from the Secret."""
        self.cluster.secrets["store-keys"] = keys
        self.cluster.environment = {"PATH": os.environ["PATH"]}
        self._default = Behaviour("command")

    def logs(self) -> str:
        """What the pods said, for a failed test."""
        return "\n".join(path.read_text() for path in self.folder.glob("*.log"))

    def close(self) -> None:
        self.api.stop()
        self.cluster.close()

    def _behave(self, index: int, attempt: int) -> Behaviour:
        return self.does.get((index, attempt), self._default)


@pytest.fixture
def reef(tmp_path: Path, bucket: str) -> Iterator[Reef]:
    found = Reef(tmp_path, bucket)
    yield found
    found.close()


@pytest.fixture
def later() -> Iterator[Callable[[float, Callable[[], None]], None]]:
    """Do something in so many seconds, while the test waits for something else."""
    import threading

    timers: list[threading.Timer] = []

    def start(seconds: float, what: Callable[[], None]) -> None:
        timers.append(threading.Timer(seconds, what))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.cancel()
        timer.join()
