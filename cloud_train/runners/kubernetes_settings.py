"""What a run definition says of trainers on Kubernetes: image, namespace, resources, patience."""

import math
from dataclasses import dataclass

from contract.records import Integer, Maybe, Record, Table, Text, rule

DEFAULT_NAMESPACE = "reefline"
DEFAULT_IMAGE = "reefline-train:latest"

_DNS_LABEL = Text(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)
_DNS_NAME = Text(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
_DAY_S = 24 * 3600


@dataclass(frozen=True)
class KubernetesSettings(Record):
    """Where the pods of a run live and what each may take.

    Attributes:
        image: holds `cloud-train`; see containers/train.
        namespace: of the Jobs.
        context: of the kubeconfig; without one the pod's own account, or the kubeconfig's current context.
        secret: whose keys become the trainers' environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL ...
        work: URL of a folder that pods can read and write; without one, `work` in the run's --out.
        cpu: cores of a trainer, as Kubernetes writes them: 2, 0.5, 500m.
        memory: of a trainer, as Kubernetes writes it: 2Gi. It is killed when it takes more.
        gpus: of a trainer.
        node_selector: labels of the nodes that trainers may run on.
        at_once: how many trainers run at the same time; 0: all of a round.
        retries: how often a trainer that was killed or evicted, or found no store, is started again. One that
            says itself what is wrong (exit codes 1 and 2) is not.
        start_timeout_s: how long all that is left of a round may wait for a start before it is given up.
        keep_s: how long a Job that is over can be looked at before Kubernetes removes it.
    """

    image: str = rule(Text(r"^[\w][\w.:/@-]*$", max_length=512), default=DEFAULT_IMAGE)
    namespace: str = rule(_DNS_LABEL, default=DEFAULT_NAMESPACE)
    context: str | None = rule(Maybe(Text()), default=None)
    secret: str | None = rule(Maybe(_DNS_NAME), default=None)
    work: str | None = rule(Maybe(Text(max_length=2048)), default=None)
    cpu: str = rule(Text(r"^([1-9]\d{0,3}|\d{1,4}\.\d{1,3}|[1-9]\d{0,6}m)$"), default="1")
    memory: str = rule(Text(r"^[1-9]\d{0,9}(Mi|Gi|Ti|M|G|T)$"), default="2Gi")
    gpus: int = rule(Integer(0, 64), default=0)
    node_selector: dict[str, str] = rule(Table(Text(max_length=63)), default={})
    at_once: int = rule(Integer(0, 10_000), default=0)
    retries: int = rule(Integer(0, 10), default=2)
    start_timeout_s: int = rule(Integer(1, _DAY_S), default=600)
    keep_s: int = rule(Integer(0, 30 * _DAY_S), default=3600)

    def threads(self) -> int:
        """Return how many threads a trainer may keep busy: its cores, rounded up."""
        cores = float(self.cpu[:-1]) / 1000 if self.cpu.endswith("m") else float(self.cpu)
        return max(1, math.ceil(cores))
