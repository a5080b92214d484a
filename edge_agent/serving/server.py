"""Local predictions over HTTP, on a TCP port and a Unix socket.

The places: `/` a page, `/predict`, `/feedback`, `/healthz`, `/readyz`, `/metrics`, and below `/v2` the Open
Inference Protocol.
"""

import logging
import queue
from pathlib import Path
from typing import Callable, List, Optional, Tuple, Union

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
from edge_agent.serving.http_server import Address, Allow, HttpServer, Limits
from edge_agent.serving.protocol_endpoints import ProtocolEndpoints
from edge_agent.serving.routes import NoRoute, Request, Routes
from edge_agent.source_config import HTTP
from edge_agent.tally import Tally

MAX_TOP_K = 100

_log = logging.getLogger(__name__)
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
# They tell nothing, and a browser cannot send a token before it has the page.
_OPEN_PATHS = ("/", "/healthz")
# Errors under it are one text, as the Open Inference Protocol wants them.
_PROTOCOL_PATH = "/v2"
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
        self._routes = self._build_routes()
        self._listeners: List[HttpServer] = []

    def start(self) -> str:
        """Listen, and return the URL.

        Raises:
            ConfigError: the port or the socket cannot be had.
        """
        config = self._config
        try:
            tcp = self._listen((config.host, config.port), self._is_allowed)
            if config.socket is not None:
                # Who may open the socket is said by the rights of its file.
                self._listen(config.socket, lambda _path, _authorization: True)
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

    def _listen(self, address: Address, is_allowed: Allow) -> HttpServer:
        limits = Limits(self._config.max_body_bytes)
        try:
            listener = HttpServer(
                address, self._answer, limits=limits, is_allowed=is_allowed, tally=self._tally
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

    def _build_routes(self) -> Routes:
        routes, protocol = Routes(), self._protocol
        for method, path, endpoint in (
            ("GET", "/", _show_page),
            ("POST", "/predict", self._predict),
            ("POST", "/feedback", self._hear),
            ("GET", "/healthz", lambda _request: answer_json({"status": "alive"})),
            ("GET", "/readyz", self._tell_readiness),
            ("GET", "/metrics", self._tell_metrics),
            ("GET", "/v2", protocol.describe_server),
            ("GET", "/v2/health/live", protocol.tell_live),
            ("GET", "/v2/health/ready", protocol.tell_ready),
        ):
            routes.add(method, path, endpoint)
        for prefix in ("/v2/models/<name>", "/v2/models/<name>/versions/<version>"):
            routes.add("GET", prefix, protocol.describe_model)
            routes.add("GET", prefix + "/ready", protocol.tell_model_ready)
            routes.add("POST", prefix + "/infer", protocol.infer)
        return routes

    def _answer(self, request: Request) -> Answer:
        """Answer every request, whatever happens."""
        explain = answer_protocol_problem if request.path.startswith(_PROTOCOL_PATH) else answer_problem
        try:
            return self._routes.answer(request)
        except NoRoute as error:
            return explain(Problem("bad_request", str(error)))._replace(status=error.status)
        except Exception:
            _log.exception("request failed")
            return explain(Problem("internal", "the agent made a mistake", "see its log"))

    def _predict(self, request: Request) -> Answer:
        """Answer with a Prediction, or with what went wrong."""
        parameters = request.parameters()
        try:
            top_k = _read_top_k(parameters.get("k"))
            kind, payload = _read_input(request)
        except RequestError as error:
            return answer_problem(error.problem())
        if not kind:
            return answer_problem(_UNKNOWN_TYPE)
        if not payload:
            return answer_problem(_EMPTY)
        result = self._asker.ask(kind, payload, top_k, parameters.get("model", "")).result
        if isinstance(result, Problem):
            return answer_problem(result)
        return answer_bytes(encode(result), "application/json")

    def _hear(self, request: Request) -> Answer:
        """Pass on what an input truly was; whether its prediction is remembered, the counters tell."""
        try:
            feedback = decode(Feedback, request.body)
            self._post(FeedbackGiven(feedback))
        except MessageError as error:
            return answer_problem(Problem("bad_request", str(error)[:1000]))
        except queue.Full:
            return answer_problem(BUSY)
        return answer_json({"status": "accepted"})

    def _tell_readiness(self, _request: Request) -> Answer:
        reason = self._why_not_ready()
        if reason is not None:
            return answer_problem(Problem("not_ready", reason))
        return answer_json({"status": "ready"})

    def _tell_metrics(self, _request: Request) -> Answer:
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


def _show_page(_request: Request) -> Answer:
    page = answer_bytes(_PAGE.read_bytes(), "text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = _PAGE_POLICY
    return page


def _read_top_k(text: Optional[str]) -> Optional[int]:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or not 1 <= int(text) <= MAX_TOP_K:
        raise RequestError("bad_request", f"k must be a number from 1 to {MAX_TOP_K}", "POST /predict?k=3")
    return int(text)


def _read_input(request: Request) -> Tuple[str, bytes]:
    """Return the kind of input and its bytes; the kind is empty if nobody can say what it is.

    Raises:
        RequestError: a form that cannot be read.
    """
    said = request.headers.get("content-type", "")
    content_type = said.partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        # Imported when the first form comes: most boards never see one.
        from edge_agent.serving.forms import read_file

        return IMAGE, read_file(said, request.body)
    body = request.body
    if content_type in ("image/jpeg", "image/png") or body.startswith(_IMAGE_STARTS):
        return IMAGE, body
    return (ARRAY if content_type in ("application/octet-stream", "") else ""), body
