"""Rounds on a cluster: pods that fail, never start, or come too late; an API that restarts; a run resumed."""

import signal
import time
from dataclasses import replace

import pytest

from cloud_train import store
from cloud_train.runners.jobs import TrainJob
from cloud_train.runners.kubernetes_runner import KubernetesRunner
from cloud_train.training.recipe import Recipe
from host_cli.errors import Unreachable, WrongUsage
from tests.cloud_train.runners.conftest import SETTINGS
from tests.fakes.kubernetes_cluster import Behaviour
from tests.fakes.waiting import wait_for

RUNS = Behaviour("run")
NO_IMAGE = Behaviour("wait", 0, "ImagePullBackOff", 'Back-off pulling image "reefline-train:1"')


def test_every_pod_trains_one_job(reef):
    """Three pods, each once, and the progress is that of their pictures."""
    assert reef.train(3) == {}
    assert sorted(reef.cluster.started) == [(0, 0), (1, 0), (2, 0)]
    assert reef.pictures == 10 + 11 + 12


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (
            Behaviour("exit", 2, "", 'chatter\n{"ok":false,"error":{"message":"a label is 12"}}'),
            "a label is 12",
        ),
        (Behaviour("exit", 1, "", "MemoryError: none left"), "exit code 1; MemoryError: none left"),
    ],
)
def test_a_trainer_that_says_what_is_wrong_gets_no_other_try(reef, does, reason):
    """The others' updates count, and the round is over."""
    reef.does[1, 0] = does
    assert reef.train(3) == {"shard-1": reason}
    assert (1, 1) not in reef.cluster.started and reef.pictures == 10 + 12


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (Behaviour("oom"), "out of memory"),
        (Behaviour("evict", 0, "", "The node was low on resource: memory."), "Evicted: The node was low"),
        (Behaviour("exit", 3, "", "the store does not answer"), "exit code 3; the store does not answer"),
    ],
)
def test_a_trainer_that_was_struck_is_started_again(reef, does, reason):
    """Once is forgiven; as often as `retries` allows and once more is a failure with the last reason."""
    reef.does[0, 0] = does
    assert reef.train(2) == {}
    assert (0, 1) in reef.cluster.started
    reef.does.update({(0, attempt): does for attempt in range(3)})
    assert reason in reef.train(2)["shard-0"]


def test_an_image_that_cannot_be_pulled_is_named_soon(reef):
    """Not waited for until the end of time: the Job is deleted, and each trainer says why it waited."""
    reef.does[0, 0] = reef.does[1, 0] = NO_IMAGE
    found = reef.train(2)
    assert found.keys() == {"shard-0", "shard-1"}
    assert 'ImagePullBackOff: Back-off pulling image "reefline-train:1"' in found["shard-0"]
    assert reef.job_names() == []


def test_one_node_without_the_image_does_not_end_the_others(reef, later):
    """As long as something runs, what waits may still come."""
    reef.does.update({(0, 0): NO_IMAGE, (1, 0): RUNS})
    later(1.5, lambda: reef.does.pop((1, 0)))
    assert list(reef.train(2)) == ["shard-0"]


def test_a_secret_that_is_not_there_is_named(reef):
    """As the kubelet says it."""
    reef.cluster.secrets.clear()
    assert 'secret "store-keys" not found' in reef.train(1)["shard-0"]


def test_pods_that_no_node_takes_are_given_up(reef):
    """After start_timeout_s, with the scheduler's words."""
    reef.does[0, 0] = Behaviour("unschedulable", 0, "", "0/3 nodes are available: 3 Insufficient memory.")
    runner = reef.runner(replace(SETTINGS, start_timeout_s=1))
    reason = reef.train(1, runner=runner)["shard-0"]
    assert reason.startswith("not started within 1 s; Unschedulable: 0/3 nodes")


def test_what_waits_for_room_does_not_end_what_runs(reef):
    """It may get its room when the other is done: time counts from then on."""
    reef.does[0, 0] = Behaviour("unschedulable", 0, "", "no room")
    reef.does[1, 0] = Behaviour("exit", after_s=2.5)
    runner = reef.runner(replace(SETTINGS, start_timeout_s=1))
    assert list(reef.train(2, runner=runner)) == ["shard-0"]


def test_who_is_not_done_in_time_is_named_and_stopped(reef):
    """The Job's own deadline stops the pod; the other update counts."""
    reef.does[1, 0] = RUNS
    assert reef.train(2, timeout_s=1) == {"shard-1": "not done within 1 s"}
    assert reef.pictures == 10
    assert all(pod["status"]["phase"] != "Running" for pod in reef.cluster.objects.all("pods"))


def test_a_cluster_that_does_not_keep_its_deadlines_is_not_waited_for(reef, later):
    """Some time after the limit the runner deletes the Job itself."""
    reef.does[0, 0] = RUNS

    def lame():
        reef.cluster.objects.all("jobs")[0]["status"]["began_s"] = time.monotonic() + 1000

    later(0.5, lame)
    assert reef.train(1, timeout_s=1) == {"shard-0": "not done within 1 s"}
    assert reef.job_names() == []


def test_watches_that_break_and_versions_that_expire_lose_nothing(reef, later):
    """Half a line, a closed stream, 410 Gone: the pods are listed again."""
    for index in range(4):
        reef.does[index, 0] = RUNS
        later(0.6 + 0.3 * index, lambda index=index: reef.does.pop((index, 0)))
        later(0.5 + 0.3 * index, reef.api.break_watches)
        later(0.7 + 0.3 * index, reef.cluster.objects.forget)
    assert reef.train(4) == {}
    assert reef.pictures == 10 + 11 + 12 + 13
    assert reef.api.requests.count(("list", "pods")) >= 2


def test_an_api_server_may_restart_during_a_round(reef, later):
    """Pods end while it is away; afterwards they are seen."""
    reef.does[0, 0] = reef.does[1, 0] = RUNS
    later(0.4, reef.api.stop)
    later(0.6, reef.does.clear)
    later(1.2, reef.api.start)
    assert reef.train(2) == {}


def test_a_server_with_too_much_to_do_is_asked_again(reef, monkeypatch):
    """429 with the pause that it wishes, 500, 503."""
    runner, sleep, pauses = reef.runner(), time.sleep, []
    monkeypatch.setattr(time, "sleep", lambda seconds: pauses.append(seconds) or sleep(seconds))
    reef.api.faults += [(429, {"Retry-After": "1"}), (500, {}), (503, {})]
    assert reef.train(1, runner=runner) == {}
    assert 1.0 in pauses


def test_a_server_that_stays_away_leaves_the_job_for_later(reef, later):
    """The run ends with exit code 3 and goes on from the same Job when it is resumed."""
    reef.does[0, 0] = RUNS
    later(0.5, reef.api.stop)
    with pytest.raises(Unreachable, match="does not answer"):
        reef.train(1, runner=reef.runner(patience_s=0.5))
    reef.api.start()
    assert len(reef.job_names()) == 1
    later(0.5, reef.does.clear)
    assert reef.train(1) == {}
    assert reef.cluster.started == [(0, 0)], "nothing was trained twice"


def test_a_job_of_the_same_name_that_is_over_is_replaced(reef):
    """The same round again trains again: its updates may have been deleted since."""
    assert reef.train(1) == {} and reef.train(1) == {}
    assert reef.cluster.started == [(0, 0), (0, 0)] and len(reef.job_names()) == 1


def test_ctrl_c_deletes_the_job(reef, later):
    """No pod is left to train for nobody."""
    reef.does[0, 0] = RUNS
    later(0.8, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        reef.train(1)
    assert reef.cluster.started == [(0, 0)] and reef.job_names() == []


def test_a_job_that_somebody_deletes_is_a_failure(reef, later):
    """Nobody waits for pods that will never come."""
    reef.does[0, 0] = RUNS
    later(0.5, lambda: reef.cluster.delete_job(reef.job_names()[0]))
    assert reef.train(1) == {"shard-0": "its Job was deleted"}


def test_a_pod_that_ends_well_without_an_update_is_a_failure(reef):
    """What counts is the file."""
    job = replace(reef.jobs(1)[0], out=f"{reef.bucket}/nowhere.npz")
    found = reef.runner().train([job], Recipe(), reef.advance, timeout_s=None)
    assert found[0].client == "shard-0" and "there is no update at s3://" in found[0].reason
    assert reef.pictures == 0


def test_files_of_this_computer_are_brought_to_the_store_and_back(reef, tmp_path, monkeypatch):
    """A job with paths works as one with URLs; equal files are uploaded once, under their hash."""
    (tmp_path / "s.npz").write_bytes(b"shard")
    job = TrainJob("shard-0", (str(tmp_path / "s.npz"),), "s3://b/i.npz", 1, str(tmp_path / "o.npz"), 5)
    put = store.put
    puts = []

    def noted(path, where):
        puts.append(where)
        put(path, where)
        if where.endswith(".json"):  # now the pod may have trained
            (tmp_path / "update").write_bytes(b"weights")
            content = store.fetch(where, tmp_path).read_text()
            out = content.split('"out":"')[1].split('"')[0]
            put(tmp_path / "update", out)

    monkeypatch.setattr(store, "put", noted)
    for _ in range(2):
        assert reef.runner().train([job], Recipe(), reef.advance, timeout_s=None) == []
    assert (tmp_path / "o.npz").read_bytes() == b"weights"
    assert sum(where.endswith(".npz") and where.startswith("s3:") for where in puts) == 1


def test_pods_cannot_read_this_computers_folders(reef):
    """Said before anything is started."""
    with pytest.raises(WrongUsage, match="pods cannot reach"):
        KubernetesRunner(reef.connect(), SETTINGS, "run", "/tmp/work")


def test_at_most_so_many_trainers_at_once(reef, later):
    """The second waits for the first."""
    reef.does[0, 0] = RUNS
    runner = reef.runner(replace(SETTINGS, at_once=1))
    later(0.8, lambda: (reef.cluster.started == [(0, 0)]) and reef.does.clear())
    assert reef.train(2, runner=runner) == {}
    wait_for("both ran", lambda: len(reef.cluster.started) == 2)
