"""What every request passes: its body has a size and a time, its answer is counted and logged. Pure ASGI."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cloud_train.serving.answers import Refused
from cloud_train.serving.config import ServeConfig
from cloud_train.serving.logs import ACCESS_LOGGER
from cloud_train.serving.metrics import Metrics

# As nginx logs a client that went before its answer came.
CLIENT_GONE = 499
# uvicorn closes at once after `Connection: close`; a client that still sends would lose its answer.
LINGER_S = 2.0
MAX_LOGGED_CHARACTERS = 300

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_access = logging.getLogger(ACCESS_LOGGER)


class Gate:
    """Wraps an ASGI application."""

    def __init__(self, app: App, config: ServeConfig, metrics: Metrics) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let the application answer, and write down what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.monotonic()
        status, size = CLIENT_GONE, 0

        async def watch(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, _Body(scope, receive, self._config).receive, watch)
        finally:
            seconds = time.monotonic() - began_s
            self._metrics.count_response(status, seconds)
            _access.info(_spell(scope, status, size, seconds))


class _Body:
    """A request's body, of limited size and in limited time."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, config: ServeConfig) -> None:
        self._headers = dict(scope["headers"])
        self._receive = receive
        self._max_bytes = config.max_body_bytes
        self._until_s = time.monotonic() + config.read_s
        self._bytes = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """Return the next part.

        Raises:
            Refused: it is too large, too slow, or compressed.
        """
        if self._is_whole:
            return await self._receive()
        if not self._bytes:
            await self._check_head()
        try:
            message = await asyncio.wait_for(self._receive(), self._until_s - time.monotonic())
        except asyncio.TimeoutError as error:
            raise Refused("slow", "the request was not whole in time", "send it faster") from error
        self._bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._bytes > self._max_bytes:
            raise await self._too_large(f"more than {self._max_bytes} bytes")
        return message

    async def _check_head(self) -> None:
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(
                "unsupported_type", "compressed bodies are not read", "send it without Content-Encoding"
            )
        length = int(self._headers.get(b"content-length", b"0"))
        if length > self._max_bytes:
            raise await self._too_large(f"{length} bytes")

    async def _too_large(self, found: str) -> Refused:
        if b"expect" not in self._headers:
            await self._read_on()
        allowed = f"at most {self._max_bytes} are allowed"
        return Refused("too_large", f"the body has {found}, {allowed}", "send a smaller picture")

    async def _read_on(self) -> None:
        """Throw away what the client still sends, for a moment."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._discard(), LINGER_S)

    async def _discard(self) -> None:
        while not self._is_whole:
            self._is_whole = not (await self._receive()).get("more_body", False)


def _spell(scope: MutableMapping[str, Any], status: int, size: int, seconds: float) -> str:
    """Return the line of the access log; the path is still percent-encoded, so it has no line feed."""
    client = (scope.get("client") or ("-",))[0]
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    shown = ascii(target.decode("latin-1"))[1:-1][:MAX_LOGGED_CHARACTERS]
    return f"{client} {scope['method']} {shown} {status} {size} B {1000 * seconds:.1f} ms"
