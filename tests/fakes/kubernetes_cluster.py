"""What runs behind a stand-in of the Kubernetes API: objects with versions, the Job controller, a kubelet."""

import copy
import os
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

Raw = Dict[str, Any]

TICK_S = 0.02
# What the kubelet keeps of the end of a log as a container's message.
MESSAGE_BYTES = 2048
INDEX = "batch.kubernetes.io/job-completion-index"


class Behaviour(NamedTuple):
    """What a pod does.

    Attributes:
        kind: `exit` with a code; `oom`; `evict`; `wait` for ever with a reason; `unschedulable`; `run` for
            ever; `command`: run the pod's command as a process.
        after_s: how long it runs before it ends so.
    """

    kind: str = "exit"
    code: int = 0
    reason: str = ""
    message: str = ""
    after_s: float = 0.0


class Gone(Exception):
    """The changes since that version are forgotten."""


class Objects:
    """Jobs and pods with resource versions, and every change of them until it is forgotten."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 100
        self._forgotten = 100
        self._objects: Dict[str, Dict[str, Raw]] = {"jobs": {}, "pods": {}}
        self._history: List[Tuple[int, str, str, Raw]] = []

    def all(self, kind: str) -> List[Raw]:
        return list(self._objects[kind].values())

    def get(self, kind: str, name: str) -> Optional[Raw]:
        return self._objects[kind].get(name)

    def put(self, kind: str, found: Raw) -> None:
        with self.changed:
            name = found["metadata"]["name"]
            self._tell("MODIFIED" if name in self._objects[kind] else "ADDED", kind, found)
            self._objects[kind][name] = found

    def remove(self, kind: str, name: str) -> None:
        with self.changed:
            found = self._objects[kind].pop(name, None)
            if found is not None:
                self._tell("DELETED", kind, found)

    def since(self, kind: str, version: int) -> List[Tuple[int, str, Raw]]:
        with self.changed:
            if version < self._forgotten:
                raise Gone
            return [
                (number, how, raw)
                for number, how, of, raw in self._history
                if of == kind and number > version
            ]

    def forget(self) -> None:
        """Forget all changes, as etcd does after some minutes."""
        with self.changed:
            self.version += 1
            self._forgotten, self._history = self.version, []

    def _tell(self, how: str, kind: str, found: Raw) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self._history.append((self.version, how, kind, copy.deepcopy(found)))
        self.changed.notify_all()


class FakeCluster:
    """Runs Jobs in a thread of its own; `behave` says what the pod of an index does at its nth try.

    Not played: nodes, quotas, `ttlSecondsAfterFinished`, and the growing pauses between two tries.

    Attributes:
        secrets: by name, what `envFrom` puts into a container's environment.
        environment: what a process needs beside that to run here.
        started: index and try of every pod, in the order of their creation.
    """

    def __init__(self, behave: Callable[[int, int], Behaviour], folder: Path, bin_folder: Path) -> None:
        self.objects = Objects()
        self.behave = behave
        self.secrets: Dict[str, Dict[str, str]] = {}
        self.environment: Dict[str, str] = {}
        self.started: List[Tuple[int, int]] = []
        self._folder, self._bin = folder, bin_folder
        self._processes: Dict[str, subprocess.Popen] = {}
        self._counted: set = set()
        self._failures: Dict[Tuple[str, int], int] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(10)
        for name in list(self._processes):
            self._kill(name)

    def create_job(self, job: Raw) -> Raw:
        job["metadata"]["uid"] = str(uuid.uuid4())
        job["status"] = {"startTime": "now", "began_s": time.monotonic()}
        self.objects.put("jobs", job)
        return job

    def delete_job(self, name: str) -> None:
        with self.objects.changed:
            job = self.objects.get("jobs", name)
            for pod in self._pods(job) if job else []:
                self._remove(pod)
            self.objects.remove("jobs", name)

    def _run(self) -> None:
        while not self._is_over.wait(TICK_S):
            with self.objects.changed:
                for pod in self.objects.all("pods"):
                    self._tend(pod)
                for job in self.objects.all("jobs"):
                    if not job["status"].get("conditions"):
                        self._control(job)

    # The Job controller.

    def _control(self, job: Raw) -> None:
        spec, status = job["spec"], job["status"]
        done, failed = self._count(job)
        self._write_indexes(job, done, failed)
        deadline_s = spec.get("activeDeadlineSeconds")
        if len(done | failed) == spec["completions"]:
            self._end(job, "FailedIndexes" if failed else "")
        elif deadline_s is not None and time.monotonic() - status["began_s"] > deadline_s:
            for pod in self._pods(job):
                if not _is_over(pod):
                    self._remove(pod)
            self._end(job, "DeadlineExceeded")
        else:
            self._create_pods(job, done | failed)

    def _count(self, job: Raw) -> Tuple[set, set]:
        uid = job["metadata"]["uid"]
        for pod in self._pods(job):
            if _phase(pod) == "Failed" and pod["metadata"]["name"] not in self._counted:
                self._counted.add(pod["metadata"]["name"])
                again = 0 if self._is_final(job, pod) else 1
                key = (uid, _index(pod))
                self._failures[key] = self._failures.get(key, 0) + 1 if again else 10**6
        done = {_index(pod) for pod in self._pods(job) if _phase(pod) == "Succeeded"}
        limit = job["spec"]["backoffLimitPerIndex"]
        failed = {index for (of, index), count in self._failures.items() if of == uid and count > limit}
        return done, failed

    def _is_final(self, job: Raw, pod: Raw) -> bool:
        states = pod["status"].get("containerStatuses") or [{}]
        code = states[0].get("state", {}).get("terminated", {}).get("exitCode")
        rules = job["spec"].get("podFailurePolicy", {}).get("rules", [])
        return any(code in rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailIndex")

    def _write_indexes(self, job: Raw, done: set, failed: set) -> None:
        found = {"completedIndexes": _ranges(done), "failedIndexes": _ranges(failed)}
        if any(job["status"].get(key, "") != value for key, value in found.items()):
            job["status"].update(found)
            self.objects.put("jobs", job)

    def _end(self, job: Raw, reason: str) -> None:
        kind = "Failed" if reason else "Complete"
        job["status"]["conditions"] = [{"type": kind, "status": "True", "reason": reason, "message": reason}]
        self.objects.put("jobs", job)

    def _create_pods(self, job: Raw, over: set) -> None:
        active = {_index(pod) for pod in self._pods(job) if not _is_over(pod)}
        free = job["spec"]["parallelism"] - len(active)
        wanted = [index for index in range(job["spec"]["completions"]) if index not in over | active]
        for index in wanted[: max(0, free)]:
            attempt = sum(_index(pod) == index for pod in self._pods(job))
            self.started.append((index, attempt))
            self.objects.put("pods", _new_pod(job, index, attempt))

    def _pods(self, job: Raw) -> List[Raw]:
        uid = job["metadata"]["uid"]
        return [
            pod
            for pod in self.objects.all("pods")
            if pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == uid
        ]

    # The kubelet.

    def _tend(self, pod: Raw) -> None:
        name = pod["metadata"]["name"]
        if name in self._processes:
            self._look_at_process(pod)
        elif _phase(pod) == "Pending" and not pod["status"].get("conditions") and not _container(pod):
            self._start(pod)
        elif _phase(pod) == "Running":
            does = self.behave(_index(pod), pod["metadata"]["attempt"])
            has_run_s = time.monotonic() - pod["status"]["began_s"]
            if does.kind in ("exit", "oom", "evict") and has_run_s >= does.after_s:
                self._finish(pod, does)

    def _start(self, pod: Raw) -> None:
        does = self.behave(_index(pod), pod["metadata"]["attempt"])
        secrets = [one["secretRef"]["name"] for one in pod["spec"]["containers"][0].get("envFrom", [])]
        missing = [name for name in secrets if name not in self.secrets]
        if missing:
            does = Behaviour("wait", 0, "CreateContainerConfigError", f'secret "{missing[0]}" not found')
        if does.kind == "wait":
            self._set(pod, "Pending", {"waiting": {"reason": does.reason, "message": does.message}})
        elif does.kind == "unschedulable":
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": does.message,
            }
            pod["status"]["conditions"] = [condition]
            self.objects.put("pods", pod)
        else:
            pod["status"]["began_s"] = time.monotonic()
            self._set(pod, "Running", {"running": {}})
            if does.kind == "command":
                self._processes[pod["metadata"]["name"]] = self._spawn(pod, secrets)

    def _spawn(self, pod: Raw, secrets: List[str]) -> "subprocess.Popen":
        container = pod["spec"]["containers"][0]
        environment = dict(self.environment)
        for name in secrets:
            environment.update(self.secrets[name])
        environment.update({one["name"]: one["value"] for one in container["env"]})
        environment.update(JOB_COMPLETION_INDEX=str(_index(pod)), HOME=str(self._folder))
        program, arguments = container["command"][0], container["command"][1:]
        with self._log(pod).open("wb") as log:
            return subprocess.Popen(
                [str(self._bin / program), *arguments],
                env=environment,
                cwd=str(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _look_at_process(self, pod: Raw) -> None:
        name = pod["metadata"]["name"]
        code = self._processes[name].poll()
        if code is not None:
            del self._processes[name]
            last = self._log(pod).read_bytes()[-MESSAGE_BYTES:].decode("utf-8", "replace")
            code = code if code >= 0 else 128 - code
            self._finish(pod, Behaviour("exit", code, "", last if code else ""))

    def _finish(self, pod: Raw, does: Behaviour) -> None:
        code = 137 if does.kind in ("oom", "evict") else does.code
        why = "OOMKilled" if does.kind == "oom" else ("Error" if code else "Completed")
        if does.kind == "evict":
            pod["status"].update(reason="Evicted", message=does.message)
        ended = {"terminated": {"exitCode": code, "reason": why, "message": does.message}}
        self._set(pod, "Failed" if code else "Succeeded", ended)

    def _set(self, pod: Raw, phase: str, state: Raw) -> None:
        container = pod["spec"]["containers"][0]
        told = {"name": container["name"], "image": container["image"], "imageID": "", "state": state}
        pod["status"].update(phase=phase, containerStatuses=[dict(told, ready=False, restartCount=0)])
        self.objects.put("pods", pod)

    def _remove(self, pod: Raw) -> None:
        self._kill(pod["metadata"]["name"])
        self.objects.remove("pods", pod["metadata"]["name"])

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def _log(self, pod: Raw) -> Path:
        return self._folder / (pod["metadata"]["name"] + ".log")


def _new_pod(job: Raw, index: int, attempt: int) -> Raw:
    name = job["metadata"]["name"]
    template = copy.deepcopy(job["spec"]["template"])
    labels = dict(template["metadata"].get("labels", {}))
    labels["batch.kubernetes.io/controller-uid"] = job["metadata"]["uid"]
    labels["batch.kubernetes.io/job-name"] = name
    metadata = {
        "name": f"{name}-{index}-{os.urandom(3).hex()}",
        "labels": labels,
        "annotations": {INDEX: str(index)},
        "attempt": attempt,
    }
    return {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}


def _phase(pod: Raw) -> str:
    return str(pod["status"]["phase"])


def _is_over(pod: Raw) -> bool:
    return _phase(pod) in ("Succeeded", "Failed")


def _index(pod: Raw) -> int:
    return int(pod["metadata"]["annotations"][INDEX])


def _container(pod: Raw) -> Any:
    return pod["status"].get("containerStatuses")


def _ranges(indexes: set) -> str:
    """Write indexes as the controller does: 1,3-5."""
    found: List[List[int]] = []
    for index in sorted(indexes):
        if found and found[-1][1] == index - 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
