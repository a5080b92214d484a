"""Which place answers which request. fastapi, and starlette below it, are imported here."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cloud_train.serving import word_cloud
from cloud_train.serving.answers import Answer, Refused, answer_bytes, answer_json, answer_refusal
from cloud_train.serving.config import MAX_TOP_K, ServeConfig
from cloud_train.serving.gate import CLIENT_GONE
from cloud_train.serving.metrics import CONTENT_TYPE, Metrics
from cloud_train.serving.predictor import Picture, Predictor
from cloud_train.serving.protocol_endpoints import ProtocolEndpoints
from cloud_train.serving.seen import Seen
from cloud_train.serving.served_model import ServedModel
from contract.inference_protocol import HEADER_LENGTH

_log = logging.getLogger(__name__)
_PAGE = Path(__file__).with_name("page.html")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# Errors under it are one text, as the Open Inference Protocol wants them.
_PROTOCOL_PATH = "/v2"
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
# What was seen since then is lost when the power fails.
SAVE_EVERY_S = 10.0
_TENSOR_TYPES = ("application/octet-stream", "")
_HINT = "curl -F file=@FILE URL"

Endpoint = Callable[[Request], Awaitable[Answer]]


class Places:
    """Every place that answers."""

    def __init__(self, model: ServedModel, config: ServeConfig, metrics: Metrics) -> None:
        """Prepare to serve a model."""
        self._config = config
        self._metrics = metrics
        self._seen = Seen(model.labels, Path(config.seen_file) if config.seen_file else None)
        self._predictor = Predictor(model, config, self._seen, metrics)
        self._protocol = ProtocolEndpoints(self._predictor, config.max_batch)

    def build_app(self) -> FastAPI:
        """Return the ASGI application; its lifespan runs the model."""
        app = FastAPI(lifespan=self._running, openapi_url=None)
        for method, path, endpoint in (
            ("GET", "/", self._show_page),
            ("POST", "/predict", self._predict),
            ("GET", "/seen", self._tell_seen),
            ("GET", "/cloud.svg", self._draw_cloud),
            *(("GET", path, self._tell_health) for path in ("/health", "/healthz", "/readyz")),
            ("GET", "/metrics", self._tell_metrics),
            ("GET", "/v2", self._describe_server),
            ("GET", "/v2/health/live", self._tell_live),
            ("GET", "/v2/health/ready", self._tell_ready),
        ):
            _add(app, method, path, endpoint)
        for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            _add(app, "GET", prefix, self._describe_model)
            _add(app, "GET", prefix + "/ready", self._tell_model_ready)
            _add(app, "POST", prefix + "/infer", self._infer)
        app.add_exception_handler(HTTPException, _explain)
        return app

    @contextlib.asynccontextmanager
    async def _running(self, _app: FastAPI) -> AsyncIterator[None]:
        async with self._predictor.running():
            saving = asyncio.create_task(self._save_now_and_then())
            yield
            saving.cancel()
        self._seen.save()

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await self._predictor.in_thread(self._seen.save)

    async def _show_page(self, _request: Request) -> Answer:
        page = answer_bytes(_PAGE.read_bytes(), "text/html; charset=utf-8")
        page.headers["Content-Security-Policy"] = _PAGE_POLICY
        return page

    async def _predict(self, request: Request) -> Answer:
        top_k = _read_top_k(request.query_params.get("k"), self._config.top_k)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == "multipart/form-data":
            pictures = await self._read_form(request)
            found = await self._predictor.predict(pictures, top_k)
        else:
            body = await request.body()
            if not body:
                raise Refused("bad_input", "the request has no picture", _HINT)
            if content_type in _TENSOR_TYPES and not body.startswith(_IMAGE_STARTS):
                found = [await self._predictor.predict_tensor(body, top_k)]
            elif content_type.startswith("image/") or body.startswith(_IMAGE_STARTS):
                found = await self._predictor.predict([Picture("", body)], top_k)
            else:
                what = "the body is neither a picture, application/octet-stream nor multipart/form-data"
                raise Refused("unsupported_type", what, _HINT)
        return answer_json(found[0] if len(found) == 1 else {"results": found})

    async def _read_form(self, request: Request) -> list[Picture]:
        """Return the files of a form, whatever their fields are called."""
        async with request.form(max_files=self._config.max_files) as form:
            files = [value for _, value in form.multi_items() if not isinstance(value, str)]
            pictures = [Picture(file.filename or "", await file.read()) for file in files]
        if not pictures or not all(picture.content for picture in pictures):
            raise Refused("bad_input", "the form has no file, or an empty one", _HINT)
        return pictures

    async def _tell_seen(self, _request: Request) -> Answer:
        return answer_json({"labels": self._seen.counts()})

    async def _draw_cloud(self, _request: Request) -> Answer:
        svg = await self._predictor.in_thread(word_cloud.draw, self._seen.counts())
        return answer_bytes(svg, "image/svg+xml")

    async def _tell_health(self, _request: Request) -> Answer:
        version = self._predictor.model.version
        return answer_json({"status": "ready", "model": version.name, "version": version.version})

    async def _tell_metrics(self, _request: Request) -> Answer:
        return answer_bytes(self._metrics.render(), CONTENT_TYPE)

    async def _describe_server(self, _request: Request) -> Answer:
        return self._protocol.describe_server()

    async def _tell_live(self, _request: Request) -> Answer:
        return self._protocol.tell_live()

    async def _tell_ready(self, _request: Request) -> Answer:
        return self._protocol.tell_ready()

    async def _describe_model(self, request: Request) -> Answer:
        return self._protocol.describe_model(*_named(request))

    async def _tell_model_ready(self, request: Request) -> Answer:
        return self._protocol.tell_model_ready(*_named(request))

    async def _infer(self, request: Request) -> Answer:
        header_length = request.headers.get(HEADER_LENGTH, "")
        return await self._protocol.infer(*_named(request), await request.body(), header_length)


def _add(app: FastAPI, method: str, path: str, endpoint: Endpoint) -> None:
    """Let an endpoint answer; who answers GET answers HEAD too."""

    async def answer(request: Request) -> Response:
        try:
            return _respond(await endpoint(request))
        except Refused as refused:
            return _refuse(request, refused)
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        except HTTPException:
            raise
        except Exception:
            _log.exception("request failed")
            return _refuse(request, Refused("internal", "the server made a mistake", "see its log"))

    methods = ["GET", "HEAD"] if method == "GET" else [method]
    app.add_route(path, answer, methods=methods)


async def _explain(request: Request, error: Exception) -> Response:
    """Say in our own words what the framework refuses: no such place, no such method, a broken form."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        refused = Refused("not_found", f"there is nothing at {path!r}")
    elif error.status_code == 405:
        refused = Refused("not_allowed", f"{path!r} does not answer {request.method}")
    else:
        refused = Refused("bad_request", f"the form cannot be read: {error.detail}", _HINT)
    return _refuse(request, refused)


def _refuse(request: Request, refused: Refused) -> Response:
    return _respond(answer_refusal(refused, request.url.path.startswith(_PROTOCOL_PATH)))


def _respond(answer: Answer) -> Response:
    return Response(answer.body, answer.status, {**answer.headers, "X-Content-Type-Options": "nosniff"})


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")


def _read_top_k(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or not 1 <= int(text) <= MAX_TOP_K:
        raise Refused("bad_request", f"k must be a number from 1 to {MAX_TOP_K}", "POST /predict?k=3")
    return int(text)
