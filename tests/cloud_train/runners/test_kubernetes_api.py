"""The way to a cluster: who is asked, what a refusal says, and who must act."""

import json
from dataclasses import replace

import pytest

from cloud_train.runners.kubernetes_api import connect
from cloud_train.runners.kubernetes_job import Round, build_job
from host_cli.errors import Unreachable, WrongUsage
from tests.cloud_train.runners.conftest import SETTINGS

JOB = build_job(Round("run", "0123456789ab", "s3://b/jobs.json", 2, None, None), SETTINGS)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path):
    """Wrong usage: what to set stands in the third line."""
    with pytest.raises(WrongUsage, match="no way to a cluster") as found:
        connect(SETTINGS, str(tmp_path / "nowhere"))
    assert "KUBECONFIG" in found.value.hint and found.value.where == str(tmp_path / "nowhere")


def test_a_context_that_is_not_there_is_named(reef):
    """As kubectl knows them."""
    with pytest.raises(WrongUsage, match="moon"):
        connect(replace(SETTINGS, context="moon"), reef.kubeconfig)


def test_a_cluster_that_is_away_is_unreachable_within_seconds(reef):
    """The first question is not asked for minutes: the address may be wrong."""
    reef.api.stop()
    with pytest.raises(Unreachable, match="Connection refused") as found:
        reef.connect(patience_s=1000)
    assert found.value.where == f"http://127.0.0.1:{reef.api.port}"


@pytest.mark.parametrize(("minor", "is_fine"), [("28", False), ("29", True), ("30+", True)])
def test_a_cluster_that_is_too_old_is_refused(reef, minor, is_fine):
    """It would leave out what counts failures per index, without a word."""
    reef.api.minor = minor
    if is_fine:
        reef.connect()
    else:
        with pytest.raises(WrongUsage, match=r"Kubernetes 1\.28") as found:
            reef.connect()
        assert "1.29" in found.value.hint


def test_an_account_that_nobody_knows_is_unreachable(reef, tmp_path):
    """401: log in again."""
    config = json.loads((tmp_path / "kubeconfig").read_text())
    config["users"][0]["user"]["token"] = "wrong"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    with pytest.raises(Unreachable, match="does not know us: Unauthorized"):
        reef.connect()


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("create", "jobs"), ("get", "jobs"), ("delete", "jobs"), ("list", "pods"), ("watch", "pods")],
)
def test_a_right_that_is_missing_is_named(reef, verb, resource):
    """Verb and resource, as a Role writes them, and the command that asks for them."""
    reef.api.denied.add((verb, resource))
    cluster = reef.connect()
    calls = {
        ("create", "jobs"): lambda: cluster.create_job(JOB),
        ("get", "jobs"): lambda: cluster.job("run"),
        ("delete", "jobs"): lambda: cluster.delete_job("run"),
        ("list", "pods"): lambda: cluster.list_pods("uid"),
        ("watch", "pods"): lambda: list(cluster.watch_pods("uid", "100", 1)),
    }
    with pytest.raises(Unreachable, match=f"we may not {verb} {resource}: .*forbidden") as found:
        calls[verb, resource]()
    assert f"kubectl auth can-i {verb} {resource} -n reefline" in found.value.hint


def test_a_namespace_that_is_not_there_is_named(reef):
    """Before anything else is asked of it."""
    with pytest.raises(WrongUsage, match='namespaces "moon" not found') as found:
        reef.connect(settings=replace(SETTINGS, namespace="moon")).create_job(JOB)
    assert "kubectl create namespace moon" in found.value.hint


def test_a_job_that_the_cluster_refuses_says_which_field(reef):
    """The stand-in checks it against the schemas of Kubernetes, as a real server does."""
    job = {**JOB, "spec": {**JOB["spec"], "completions": "two"}}
    with pytest.raises(WrongUsage, match=r"refuses the Job: spec\.completions"):
        reef.connect().create_job(job)


def test_a_second_job_of_the_same_name_is_no_error(reef):
    """It may be ours, from an answer that got lost."""
    cluster = reef.connect()
    assert cluster.create_job(JOB) and cluster.create_job(JOB) is None
