"""Local predictions over HTTP, on a TCP port and a Unix socket. Only this module knows bottle.

The places: `/` a page, `/predict`, `/feedback`, `/healthz`, `/readyz`, `/metrics`, and below `/v2` the Open
Inference Protocol.
"""

import logging
import queue
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import bottle

from contract.codec import decode, encode
from contract.errors import MessageError
from contract.learning import Feedback
from contract.messages import Problem
from edge_agent.config import HttpConfig
from edge_agent.errors import ConfigError, RequestError
from edge_agent.events import ARRAY, IMAGE, FeedbackGiven, InferenceAsked
from edge_agent.serving import metrics
from edge_agent.serving.access import is_loopback, read_token
from edge_agent.serving.answers import (
    Answer,
    answer_bytes,
    answer_json,
    answer_problem,
    answer_protocol_problem,
)
from edge_agent.serving.asking import BUSY, Asker
from edge_agent.serving.protocol_endpoints import HEADER_LENGTH, ProtocolEndpoints
from edge_agent.serving.wsgi import Address, Allow, Limits, WsgiServer
from edge_agent.source_config import HTTP
from edge_agent.tally import Tally

MAX_TOP_K = 100

_log = logging.getLogger(__name__)
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
# They tell nothing, and a browser cannot send a token before it has the page.
_OPEN_PATHS = ("/", "/healthz")
_PAGE = Path(__file__).with_name("page.html")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_EMPTY = Problem("bad_input", "the request has no picture", "curl -F image=@FILE URL")
_UNKNOWN_TYPE = Problem(
    "unsupported_type",
    "the body is neither JPEG, PNG, application/octet-stream nor multipart/form-data",
    "curl -F image=@FILE URL",
)


class _Upload(bottle.BaseRequest):  # type: ignore[misc]
    """A form whose files stay in memory: the server has bounded the body, and /tmp may be on the eMMC."""

    MEMFILE_MAX = 128 * 1024 * 1024


class Server:
    """Turns requests into `InferenceAsked`, and what the loop answers into HTTP."""

    def __init__(
        self,
        config: HttpConfig,
        post: Callable[[Union[InferenceAsked, FeedbackGiven]], None],
        *,
        state: Callable[[], metrics.State],
        why_not_ready: Callable[[], Optional[str]],
        tally: Tally,
    ) -> None:
        """Prepare.

        Args:
            config: where to listen, and the limits.
            post: takes a request from any thread; must not block, raises `queue.Full` when there is no room.
            state: returns what /metrics measures; called from any thread.
            why_not_ready: returns why nothing can be answered now, None if it can; called from any thread.
            tally: counts what is answered.

        Raises:
            ConfigError: other machines could ask and there is no token, or its file is no good.
        """
        self._config = config
        self._is_allowed = build_gate(config)
        self._post = post
        self._asker = Asker(post, HTTP, config.timeout_s)
        self._state = state
        self._why_not_ready = why_not_ready
        self._tally = tally
        self._protocol = ProtocolEndpoints(self._asker, lambda: state().servings, why_not_ready)
        self._listeners: List[WsgiServer] = []

    def start(self) -> str:
        """Listen, and return the URL.

        Raises:
            ConfigError: the port or the socket cannot be had.
        """
        config, application = self._config, self._build_application()
        try:
            tcp = self._listen((config.host, config.port), application, self._is_allowed)
            if config.socket is not None:
                # Who may open the socket is said by the rights of its file.
                self._listen(config.socket, application, lambda _path, _authorization: True)
        except ConfigError:
            self.stop()
            raise
        host, port = tcp.name
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def stop(self) -> None:
        """Answer who still waits, close every connection."""
        for listener in self._listeners:
            listener.stop_accepting()
        self._asker.stop()
        for listener in self._listeners:
            listener.stop()

    def _listen(self, address: Address, application: bottle.Bottle, is_allowed: Allow) -> WsgiServer:
        limits = Limits(self._config.max_body_bytes)
        try:
            listener = WsgiServer(
                address, application, limits=limits, is_allowed=is_allowed, tally=self._tally
            )
        except OSError as error:
            if isinstance(address, str):
                raise ConfigError(
                    "http_socket",
                    f"cannot listen on {address}: {error.strerror}",
                    "set http.socket to a path in a folder that the agent may write to",
                ) from error
            raise ConfigError(
                "http_port",
                f"cannot listen on {address[0]}:{address[1]}: {error.strerror}",
                "set another http.port; 0 picks a free one",
            ) from error
        self._listeners.append(listener)
        listener.start()
        return listener

    def _build_application(self) -> bottle.Bottle:
        application, protocol = bottle.Bottle(), self._protocol
        for method, path, endpoint in (
            ("GET", "/", _show_page),
            ("POST", "/predict", self._predict),
            ("POST", "/feedback", self._hear),
            ("GET", "/healthz", lambda: answer_json({"status": "alive"})),
            ("GET", "/readyz", self._tell_readiness),
            ("GET", "/metrics", self._tell_metrics),
            ("GET", "/v2", protocol.describe_server),
            ("GET", "/v2/health/live", protocol.tell_live),
            ("GET", "/v2/health/ready", protocol.tell_ready),
        ):
            application.route(path, method, _speak(endpoint))
        for prefix in ("/v2/models/<name>", "/v2/models/<name>/versions/<version>"):
            application.route(prefix, "GET", _speak(protocol.describe_model))
            application.route(prefix + "/ready", "GET", _speak(protocol.tell_model_ready))
            application.route(prefix + "/infer", "POST", _speak(self._infer))
        application.default_error_handler = _explain_error
        return application

    def _predict(self) -> Answer:
        """Answer with a Prediction, or with what went wrong."""
        try:
            top_k = _read_top_k(bottle.request.query.get("k"))
        except RequestError as error:
            return answer_problem(error.problem())
        kind, payload = _read_input(bottle.request.environ)
        if not kind:
            return answer_problem(_UNKNOWN_TYPE)
        if not payload:
            return answer_problem(_EMPTY)
        model = bottle.request.query.get("model", "")
        result = self._asker.ask(kind, payload, top_k, model).result
        if isinstance(result, Problem):
            return answer_problem(result)
        return answer_bytes(encode(result), "application/json")

    def _hear(self) -> Answer:
        """Pass on what an input truly was; whether its prediction is remembered, the counters tell."""
        try:
            feedback = decode(Feedback, bottle.request.environ["wsgi.input"].read())
            self._post(FeedbackGiven(feedback))
        except MessageError as error:
            return answer_problem(Problem("bad_request", str(error)[:1000]))
        except queue.Full:
            return answer_problem(BUSY)
        return answer_json({"status": "accepted"})

    def _infer(self, **model: str) -> Answer:
        # bottle's own `request.body` would put a large one into /tmp.
        body = bottle.request.environ["wsgi.input"].read()
        return self._protocol.infer(body, bottle.request.get_header(HEADER_LENGTH, ""), **model)

    def _tell_readiness(self) -> Answer:
        reason = self._why_not_ready()
        if reason is not None:
            return answer_problem(Problem("not_ready", reason))
        return answer_json({"status": "ready"})

    def _tell_metrics(self) -> Answer:
        return answer_bytes(metrics.render(self._tally, self._state()).encode("utf-8"), metrics.CONTENT_TYPE)


def build_gate(config: HttpConfig) -> Allow:
    """Return who is let in over TCP.

    Raises:
        ConfigError: other machines could ask and there is no token, or its file is no good.
    """
    if config.token_file is not None:
        token = read_token(Path(config.token_file))
        return lambda path, authorization: path in _OPEN_PATHS or token.is_in(authorization)
    if not is_loopback(config.host):
        raise ConfigError(
            "http_public",
            f"http.host is {config.host}: other machines could ask, and there is no token",
            'set http.token_file, or http.host = "127.0.0.1"',
        )
    return lambda _path, _authorization: True


def _speak(endpoint: Callable[..., Answer]) -> Callable[..., bottle.HTTPResponse]:
    def respond(**arguments: str) -> bottle.HTTPResponse:
        answer = endpoint(**arguments)
        return bottle.HTTPResponse(answer.body, answer.status, answer.headers)

    return respond


def _show_page() -> Answer:
    page = answer_bytes(_PAGE.read_bytes(), "text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = _PAGE_POLICY
    return page


def _read_top_k(text: Optional[str]) -> Optional[int]:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or not 1 <= int(text) <= MAX_TOP_K:
        raise RequestError("bad_request", f"k must be a number from 1 to {MAX_TOP_K}", "POST /predict?k=3")
    return int(text)


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


def _explain_error(error: bottle.HTTPError) -> str:
    """Say as JSON what bottle would say as HTML."""
    bottle.response.content_type = "application/json"
    if error.exception is not None and error.status_code >= 500:
        _log.error("request failed: %r\n%s", error.exception, error.traceback)
        problem = Problem("internal", "the agent made a mistake", "see its log")
    else:
        problem = Problem("bad_request", str(error.body or error.status_line)[:1000])
    is_protocol = bottle.request.path.startswith("/v2")
    answer = answer_protocol_problem(problem) if is_protocol else answer_problem(problem)
    return answer.body.decode("ascii")
