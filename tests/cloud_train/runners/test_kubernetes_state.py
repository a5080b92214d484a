"""What a cluster says of Jobs and pods, read: indexes, endings, reasons."""

import pytest

from cloud_train.runners.kubernetes_state import read_indexes, read_job, read_pod

TOLD = 'step 3\n{"ok": false, "error": {"code": "failed", "message": "the loss became nan"}}\nerror: the loss'


def pod(**status):
    metadata = {"name": "p", "resourceVersion": "7"}
    metadata["annotations"] = {"batch.kubernetes.io/job-completion-index": "3"}
    return read_pod({"metadata": metadata, "status": status})


def container(**state):
    return [{"name": "sidecar", "state": {}}, {"name": "trainer", "state": state}]


@pytest.mark.parametrize(
    ("text", "expected"), [("", set()), ("4", {4}), ("0,2-4,10-11", {0, 2, 3, 4, 10, 11}), (None, set())]
)
def test_indexes_are_read_as_a_job_writes_them(text, expected):
    """Single ones and ranges."""
    assert read_indexes(text) == expected


@pytest.mark.parametrize(
    ("condition", "ending", "is_late"),
    [
        (None, None, False),
        ({"type": "Complete", "status": "True"}, "its Job ended: Complete", False),
        (
            {"type": "Failed", "status": "True", "reason": "FailedIndexes"},
            "its Job ended: FailedIndexes",
            False,
        ),
        ({"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}, "DeadlineExceeded", True),
        ({"type": "Failed", "status": "False", "reason": "x"}, None, False),
        ({"type": "FailureTarget", "status": "True", "reason": "FailedIndexes"}, None, False),
    ],
)
def test_a_job_is_over_when_a_condition_says_so(condition, ending, is_late):
    """Only Complete and Failed, and only when they are true."""
    raw = {"metadata": {}, "status": {"conditions": [condition] if condition else None}}
    found = read_job(raw)
    assert found.is_late is is_late and found.is_finished is (ending is not None)
    assert (found.ending or "").endswith(ending or "")


def test_a_job_that_is_being_deleted_is_finished():
    """Nobody goes on with it."""
    assert read_job({"metadata": {"deletionTimestamp": "now"}}).is_finished


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {"containerStatuses": container(terminated={"exitCode": 1, "message": TOLD})},
            "the loss became nan",
        ),
        ({"containerStatuses": container(terminated={"exitCode": 4, "message": "a\nb"})}, "exit code 4; a b"),
        ({"containerStatuses": container(terminated={"exitCode": 9})}, "exit code 9"),
        (
            {"containerStatuses": container(terminated={"exitCode": 137, "reason": "OOMKilled"})},
            "out of memory (OOMKilled): it needs more than [runner] memory",
        ),
        ({"reason": "Evicted", "message": "low on\nmemory"}, "Evicted: low on memory"),
        ({}, "its container never ran"),
    ],
)
def test_a_failed_pod_says_why_in_one_line(status, reason):
    """The program's own words if it has any, the kubelet's before them."""
    found = pod(phase="Failed", **status)
    assert (found.index, found.reason, found.is_over) == (3, reason, True)


@pytest.mark.parametrize(
    ("status", "reason", "is_hopeless"),
    [
        ({}, "", False),
        (
            {"containerStatuses": container(waiting={"reason": "ImagePullBackOff", "message": "Back-off"})},
            "ImagePullBackOff: Back-off",
            True,
        ),
        (
            {"containerStatuses": container(waiting={"reason": "ContainerCreating"})},
            "ContainerCreating",
            False,
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}
                ]
            },
            "Unschedulable: 0/3",
            False,
        ),
    ],
)
def test_a_waiting_pod_says_for_what(status, reason, is_hopeless):
    """And whether waiting makes sense."""
    found = pod(phase="Pending", **status)
    assert (found.reason, found.is_hopeless, found.is_over) == (reason, is_hopeless, False)


def test_a_very_long_reason_is_cut():
    """It becomes a line in a report."""
    status = container(terminated={"exitCode": 4, "message": "x" * 5000})
    assert len(pod(phase="Failed", containerStatuses=status).reason) < 1000
