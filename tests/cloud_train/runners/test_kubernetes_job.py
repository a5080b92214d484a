"""The Job of a round: what Kubernetes takes, what a pod may do, and names that DNS allows."""

from dataclasses import replace

import kubernetes_validate
import pytest

from cloud_train.runners.kubernetes_job import Owner, Round, build_job
from cloud_train.runners.kubernetes_settings import KubernetesSettings
from contract.errors import MessageError
from tests.fakes.kubernetes_api import problem_with

WORK = Round("mnist", "0123456789abcdef", "s3://b/jobs.json", 3, None, None)
FULL = KubernetesSettings(
    image="registry.example:5000/reefline-train:1",
    secret="store-keys",
    cpu="1500m",
    gpus=1,
    node_selector={"accelerator": "h100"},
    at_once=2,
)


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize("settings", [KubernetesSettings(), FULL])
def test_the_job_follows_the_schemas_of_kubernetes(version, settings):
    """From the oldest version on that knows backoffLimitPerIndex for sure."""
    job = build_job(replace(WORK, timeout_s=0.5, owner=Owner("collect", "an-uid")), settings)
    kubernetes_validate.validate(job, version, strict=True)
    assert problem_with(job) == ""


def test_no_trainer_ends_another_one():
    """All may fail, each has its own tries, and what a trainer says itself is final."""
    spec = build_job(WORK, FULL)["spec"]
    assert (spec["completions"], spec["maxFailedIndexes"], spec["parallelism"]) == (3, 3, 2)
    assert spec["backoffLimitPerIndex"] == 2
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailIndex", [1, 2])


def test_settings_reach_the_pod():
    """Image, resources, GPU, Secret, nodes, threads for every begun core, and the time limit."""
    job = build_job(replace(WORK, timeout_s=90.2), FULL)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["spec"]["activeDeadlineSeconds"] == 91
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert pod["nodeSelector"] == {"accelerator": "h100"}
    assert container["resources"]["limits"] == {"cpu": "1500m", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert container["envFrom"] == [{"secretRef": {"name": "store-keys"}}]
    assert {"name": "TF_NUM_INTRAOP_THREADS", "value": "2"} in container["env"]


def test_a_trainer_has_no_right_on_the_cluster_nor_on_its_disk():
    """No token, no root, nothing to write to but /tmp."""
    pod = build_job(WORK, FULL)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert [one["mountPath"] for one in container["volumeMounts"]] == ["/tmp"]


@pytest.mark.parametrize(
    ("run", "name"),
    [("mnist", "mnist-0123456789"), ("a.b_c", "a-b-c-0123456789"), ("7.run", "run-7-run-0123456789")],
)
def test_a_name_of_a_run_becomes_one_for_dns(run, name):
    """Equal work has an equal name; long names leave room for the index."""
    assert replace(WORK, run=run).name == name
    for long in ("x" * 63, "x" * 62 + "-"):
        assert problem_with(build_job(replace(WORK, run=long, count=10_000), FULL)) == ""


@pytest.mark.parametrize(
    "wrong",
    [{"cpu": "0"}, {"cpu": "two"}, {"memory": "2"}, {"namespace": "Ä"}, {"image": "a b"}, {"retries": 11}],
)
def test_what_kubernetes_would_refuse_is_refused_here(wrong):
    """Before anything is started."""
    with pytest.raises(MessageError, match=next(iter(wrong))):
        KubernetesSettings(**wrong)


@pytest.mark.parametrize(("cpu", "threads"), [("1", 1), ("4", 4), ("0.5", 1), ("2500m", 3)])
def test_a_begun_core_is_a_thread(cpu, threads):
    """At least one."""
    assert KubernetesSettings(cpu=cpu).threads() == threads
