"""A stand-in of the Kubernetes API on loopback: Jobs and pods for the official client, with faults."""

import contextlib
import copy
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

from tests.fakes.kubernetes_cluster import FakeCluster, Gone, Raw
from tests.fakes.ports import take_free_port

SCHEMAS = "1.29"
TOKEN = "let-me-in"
NAMESPACE = "reefline"
_PATH = re.compile(r"/(?:api|apis/batch)/v1/namespaces/([^/]+)/(jobs|pods)(?:/([^/]+))?")
_ADDED_BY_PLAY = ("attempt",)


class KubernetesApi:
    """Serves a FakeCluster over HTTP; `stop` and `start` are a restart, and the cluster goes on meanwhile.

    Attributes:
        faults: statuses, with headers, with which the next requests are answered.
        denied: verbs and resources that we may not use.
        requests: verb and resource of everything that was asked.
        minor: what the server says of its version.
    """

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.port = take_free_port()
        self.faults: List[Tuple[int, Dict[str, str]]] = []
        self.denied: Set[Tuple[str, str]] = set()
        self.requests: List[Tuple[str, str]] = []
        self.minor = "31+"
        self._open: Set[socket.socket] = set()
        self._broken_watches = 0
        self._server: Optional[ThreadingHTTPServer] = None
        self.start()

    def start(self) -> None:
        """Listen."""
        api = self

        class Handler(_Handler):
            def setup(self) -> None:
                self.api = api
                api._open.add(self.request)
                super().setup()

            def finish(self) -> None:
                super().finish()
                api._open.discard(self.request)

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and cut every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for one in list(self._open):
            _cut(one)

    def break_watches(self) -> None:
        """End each open watch in the middle of a line."""
        self._broken_watches += 1

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        cluster = {"server": f"http://127.0.0.1:{self.port}"}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "here", "cluster": cluster}],
                    "users": [{"name": "me", "user": {"token": TOKEN}}],
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                    "current-context": "here",
                }
            )
        )
        return path


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    api: KubernetesApi = None

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("get")

    def do_POST(self) -> None:
        self._serve("create")

    def do_DELETE(self) -> None:
        self._serve("delete")

    def _serve(self, verb: str) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        found = _PATH.fullmatch(parts.path)
        resource, name = (found.group(2), found.group(3)) if found else ("version", None)
        if verb == "get" and found and name is None:
            verb = "watch" if query.get("watch", "").lower() == "true" else "list"
        self.api.requests.append((verb, resource))
        try:
            if self._is_refused(verb, resource, found):
                return
            if found is None:
                self._answer(
                    200, {"major": "1", "minor": self.api.minor, "gitVersion": "v1." + self.api.minor}
                )
            elif verb == "watch":
                self._watch(query)
            else:
                getattr(self, "_" + verb)(resource, name, query, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _is_refused(self, verb: str, resource: str, found: Any) -> bool:
        if self.headers.get("Authorization") != "Bearer " + TOKEN:
            self._status(401, "Unauthorized")
        elif self.api.faults:
            status, headers = self.api.faults.pop(0)
            self._status(status, "the server has trouble", headers)
        elif (verb, resource) in self.api.denied:
            what = '{} is forbidden: User "me" cannot {} resource "{}"'
            self._status(403, what.format(resource, verb, resource))
        elif found is not None and found.group(1) != NAMESPACE:
            self._status(404, f'namespaces "{found.group(1)}" not found')
        else:
            return False
        return True

    def _create(self, _resource: str, _name: Optional[str], query: Dict[str, str], body: bytes) -> None:
        job = json.loads(body)
        trouble = problem_with(job)
        if trouble:
            self._status(422, trouble)
        elif query.get("fieldValidation") != "Strict":
            self._status(400, "the stand-in wants to see fieldValidation=Strict")
        elif self.api.cluster.objects.get("jobs", job["metadata"]["name"]):
            self._status(409, 'jobs.batch "{}" already exists'.format(job["metadata"]["name"]))
        else:
            self._answer(201, self.api.cluster.create_job(job))

    def _get(self, resource: str, name: Optional[str], _query: Dict[str, str], _body: bytes) -> None:
        found = self.api.cluster.objects.get(resource, str(name))
        if found is None:
            self._status(404, f'{resource} "{name}" not found')
        else:
            self._answer(200, found)

    def _list(self, resource: str, _name: Optional[str], query: Dict[str, str], _body: bytes) -> None:
        objects = self.api.cluster.objects
        with objects.changed:
            items = [_shown(one) for one in objects.all(resource) if _fits(one, query)]
            version = str(objects.version)
        self._answer(200, {"kind": "List", "metadata": {"resourceVersion": version}, "items": items})

    def _delete(self, _resource: str, name: Optional[str], query: Dict[str, str], body: bytes) -> None:
        options = json.loads(body) if body else {}
        policy = query.get("propagationPolicy") or options.get("propagationPolicy")
        if self.api.cluster.objects.get("jobs", str(name)) is None:
            self._status(404, f'jobs.batch "{name}" not found')
        elif policy not in ("Background", "Foreground"):
            self._status(400, "the stand-in does not leave pods behind")
        else:
            self.api.cluster.delete_job(str(name))
            self._status(200, "deleted")

    def _watch(self, query: Dict[str, str]) -> None:
        objects, broken = self.api.cluster.objects, self.api._broken_watches
        version = int(query["resourceVersion"])
        until_s = time.monotonic() + float(query.get("timeoutSeconds", "300"))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while time.monotonic() < until_s and self.api._server is not None:
                for number, how, raw in objects.since("pods", version):
                    version = number
                    if _fits(raw, query):
                        self._chunk(json.dumps({"type": how, "object": _shown(raw)}) + "\n")
                if self.api._broken_watches != broken:
                    self._chunk('{"type": "MODIF')
                    _cut(self.connection)
                    self.close_connection = True
                    return
                with objects.changed:
                    objects.changed.wait(0.02)
        except Gone:
            status = {
                "kind": "Status",
                "code": 410,
                "reason": "Expired",
                "message": "too old resource version",
            }
            self._chunk(json.dumps({"type": "ERROR", "object": status}) + "\n")
        self._chunk("")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _status(self, status: int, message: str, headers: Optional[Dict[str, str]] = None) -> None:
        self._answer(status, {"kind": "Status", "code": status, "message": message}, headers)

    def _answer(self, status: int, found: Raw, headers: Optional[Dict[str, str]] = None) -> None:
        data = json.dumps(_shown(found)).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def problem_with(document: Raw) -> str:
    """Say what a real API server would refuse a Job for: its schema, and some rules beyond it."""
    try:
        kubernetes_validate.validate(document, SCHEMAS, strict=True)
    except kubernetes_validate.ValidationError as error:
        return "{}: {}".format(".".join(map(str, error.path)), error.message)
    spec, pod = document["spec"], document["spec"]["template"]["spec"]
    rules = {
        "metadata.name is no DNS label with room for an index": re.fullmatch(
            "[a-z]([a-z0-9-]{0,55}[a-z0-9])?", document["metadata"]["name"]
        ),
        "backoffLimitPerIndex needs completionMode Indexed": spec.get("completionMode") == "Indexed",
        "completions is required for Indexed": spec.get("completions", 0) > 0,
        "maxFailedIndexes may not exceed completions": spec.get("maxFailedIndexes", 0) <= spec["completions"],
        "podFailurePolicy needs restartPolicy Never": pod.get("restartPolicy") == "Never",
        "requests may not exceed limits": all(
            one["resources"]["requests"] == one["resources"]["limits"] for one in pod["containers"]
        ),
        "a label value is wrong": all(
            re.fullmatch("([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value)
            for value in document["metadata"]["labels"].values()
        ),
    }
    return "; ".join(rule for rule, is_kept in rules.items() if not is_kept)


def _shown(found: Raw) -> Raw:
    shown = copy.deepcopy(found)
    for key in _ADDED_BY_PLAY:
        shown.get("metadata", {}).pop(key, None)
    if isinstance(shown.get("status"), dict):
        shown["status"].pop("began_s", None)
    return shown


def _fits(found: Raw, query: Dict[str, str]) -> bool:
    wanted = [term.split("=", 1) for term in query.get("labelSelector", "").split(",") if term]
    labels = found["metadata"].get("labels", {})
    return all(labels.get(key) == value for key, value in wanted)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)
