"""Local predictions over HTTP: POST /predict, GET /healthz, GET /readyz. Only this module knows bottle."""

import json
import logging
import queue
import threading
import time
from typing import Any, Callable, Dict, Optional, Set, Tuple, Union

import bottle

from contract.codec import encode
from contract.messages import Prediction, Problem
from contract.records import dump_record
from edge_agent.config import HttpConfig
from edge_agent.errors import ConfigError
from edge_agent.events import ARRAY, IMAGE, InferenceAsked
from edge_agent.wsgi import Limits, WsgiServer

SOURCE = "http"

_log = logging.getLogger(__name__)
_LOCAL_HOSTS = ("127.0.0.1", "localhost")
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_STATUS_BY_CODE = {"bad_image": 400, "bad_input": 400, "unsupported_type": 415, "timeout": 504}
_UNAVAILABLE = 503
_RETRY_AFTER_S = "1"
_BUSY = Problem("busy", "too many requests are waiting", "try again a little later")
_LATE = Problem("timeout", "no answer in time", "see /readyz, or allow more: http.timeout_s")
_STOPPING = Problem("stopping", "the agent is being stopped", "try again a little later")
_EMPTY = Problem("bad_input", "the request has no picture", "curl -F image=@FILE URL")
_UNKNOWN_TYPE = Problem(
    "unsupported_type",
    "the body is neither JPEG, PNG, application/octet-stream nor multipart/form-data",
    "curl -F image=@FILE URL",
)

Result = Union[Prediction, Problem]


class _Upload(bottle.BaseRequest):  # type: ignore[misc]
    """A form whose files stay in memory: the server has bounded the body, and /tmp may be on the eMMC."""

    MEMFILE_MAX = 128 * 1024 * 1024


class _Reply:
    """Where a thread waits for the loop's answer; the first answer counts."""

    def __init__(self) -> None:
        self._is_there = threading.Event()
        self._lock = threading.Lock()
        self._result: Result = _LATE

    def set(self, result: Result) -> None:
        """Answer."""
        with self._lock:
            if not self._is_there.is_set():
                self._result = result
                self._is_there.set()

    def wait(self, timeout_s: float) -> Result:
        """Return the answer, or the problem that there is none in time."""
        self._is_there.wait(timeout_s)
        return self._result


class Server:
    """Turns requests into `InferenceAsked`, and what the loop answers into HTTP."""

    def __init__(
        self,
        config: HttpConfig,
        ask: Callable[[InferenceAsked], None],
        is_ready: Callable[[], Optional[str]],
    ) -> None:
        """Prepare.

        Args:
            config: where to listen, and the limits.
            ask: takes a request from any thread; must not block, raises `queue.Full` when there is no room.
            is_ready: returns why nothing can be answered now, None if it can; called from any thread.

        Raises:
            ConfigError: the host is not local.
        """
        if config.host not in _LOCAL_HOSTS:
            raise ConfigError(
                "http_public",
                f"http.host is {config.host}: other machines could ask, and there are no tokens yet",
                'http.host = "127.0.0.1", and an SSH tunnel from elsewhere',
            )
        self._config = config
        self._ask = ask
        self._is_ready = is_ready
        self._waiting: Set[_Reply] = set()
        self._is_stopping = False
        self._server: Optional[WsgiServer] = None

    def start(self) -> Tuple[str, int]:
        """Listen, and return the host and port.

        Raises:
            ConfigError: the port is taken.
        """
        address = (_LOCAL_HOSTS[0], self._config.port)
        try:
            self._server = WsgiServer(address, self._build_application(), Limits(self._config.max_body_bytes))
        except OSError as error:
            raise ConfigError(
                "http_port",
                f"cannot listen on {address[0]}:{address[1]}: {error.strerror}",
                "set another http.port; 0 picks a free one",
            ) from error
        self._server.start()
        return address[0], int(self._server.server_address[1])

    def stop(self) -> None:
        """Answer who still waits, close every connection."""
        if self._server is None:
            return
        self._is_stopping = True
        self._server.stop_accepting()
        for reply in tuple(self._waiting):
            reply.set(_STOPPING)
        self._server.stop()

    def _build_application(self) -> bottle.Bottle:
        application = bottle.Bottle()
        application.route("/predict", "POST", self._predict)
        application.route("/healthz", "GET", self._tell_health)
        application.route("/readyz", "GET", self._tell_readiness)
        application.default_error_handler = _explain_error
        return application

    def _predict(self) -> bottle.HTTPResponse:
        """Answer with a Prediction, or with what went wrong."""
        kind, payload = _read_input(bottle.request.environ)
        if not kind:
            return _respond(_UNKNOWN_TYPE)
        if not payload:
            return _respond(_EMPTY)
        return _respond(self._wait_for_answer(kind, payload))

    def _wait_for_answer(self, kind: str, payload: bytes) -> Result:
        reply = _Reply()
        self._waiting.add(reply)
        try:
            if self._is_stopping:
                return _STOPPING
            self._ask(InferenceAsked(kind, payload, SOURCE, time.monotonic(), reply.set))
            return reply.wait(self._config.timeout_s)
        except queue.Full:
            return _BUSY
        finally:
            self._waiting.discard(reply)

    def _tell_health(self) -> Dict[str, str]:
        return {"status": "alive"}

    def _tell_readiness(self) -> bottle.HTTPResponse:
        reason = self._is_ready()
        if reason is not None:
            return _respond(Problem("not_ready", reason))
        return bottle.HTTPResponse(b'{"status":"ready"}', 200, {"Content-Type": "application/json"})


def _read_input(environ: Dict[str, Any]) -> Tuple[str, bytes]:
    """Return the kind of input and its bytes; the kind is empty if nobody can say what it is."""
    content_type = environ["CONTENT_TYPE"].partition(";")[0].strip().lower()
    # bottle refuses a body over 100 kB when a form is looked for in something that is not one.
    if content_type == "multipart/form-data":
        for upload in _Upload(environ).files.values():
            return IMAGE, upload.file.read()
        return IMAGE, b""
    body = environ["wsgi.input"].read()
    if content_type in ("image/jpeg", "image/png") or body.startswith(_IMAGE_STARTS):
        return IMAGE, body
    return (ARRAY if content_type in ("application/octet-stream", "") else ""), body


def _respond(result: Result) -> bottle.HTTPResponse:
    headers = {"Content-Type": "application/json"}
    if isinstance(result, Prediction):
        return bottle.HTTPResponse(encode(result), 200, headers)
    status = _STATUS_BY_CODE.get(result.code, _UNAVAILABLE)
    if status == _UNAVAILABLE:
        headers["Retry-After"] = _RETRY_AFTER_S
    return bottle.HTTPResponse(_dump_problem(result), status, headers)


def _explain_error(error: bottle.HTTPError) -> str:
    """Say as JSON what bottle would say as HTML."""
    bottle.response.content_type = "application/json"
    if error.exception is not None and error.status_code >= 500:
        _log.error("request failed: %r\n%s", error.exception, error.traceback)
        return _dump_problem(Problem("internal", "the agent made a mistake", "see its log")).decode("ascii")
    return _dump_problem(Problem("bad_request", str(error.body or error.status_line)[:1000])).decode("ascii")


def _dump_problem(problem: Problem) -> bytes:
    return json.dumps({"error": dump_record(problem)}).encode("ascii")
