"""A TCP proxy that treats a connection badly: cuts, swallows, throttles or damages it at a chosen byte."""

import contextlib
import socket
import threading
import time
from typing import List, Optional

_BLOCK_BYTES = 4096


class Proxy:
    """Stands on a port of its own before a server; what it does can be changed while connections are open.

    Attributes:
        port: where clients connect.
        target_host, target_port: where the server is.
        connections: how many clients have connected.
        passed_bytes: what the server has sent to clients so far.
        cut_at: the connection is reset when so many bytes have passed; None never.
        damage_at: one bit of this byte is turned over; None never.
        block_bytes, pause_s: so much is passed on at once, and then so long nothing.
        is_blackhole: nothing passes any more in either direction, and nobody is told.
    """

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self.target_host = target_host
        self.target_port = target_port
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen(128)
        self.port = int(self._server.getsockname()[1])
        self.connections = 0
        self.passed_bytes = 0
        self.cut_at: Optional[int] = None
        self.damage_at: Optional[int] = None
        self.block_bytes = _BLOCK_BYTES
        self.pause_s = 0.0
        self.is_blackhole = False
        self._open: List[socket.socket] = []
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self) -> None:
        """Pass on everything from now on; what the blackhole holds stays lost, as when a router forgot it."""
        self.is_blackhole = False
        self.cut_at = self.damage_at = None
        self.pause_s = 0.0

    def close(self) -> None:
        """End every connection and let go of the port."""
        self._is_closed = True
        for opened in (self._server, *self._open):
            _shut(opened)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection((self.target_host, self.target_port))
            except OSError:
                if self._is_closed:
                    return
                _shut(client)
                continue
            self.connections += 1
            self._open += [client, server]
            lost = threading.Event()
            for source, sink, is_down in ((server, client, True), (client, server, False)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, sink, is_down, lost), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_down: bool, lost: threading.Event) -> None:
        try:
            while True:
                data = source.recv(self.block_bytes)
                if self.is_blackhole:
                    # This connection never comes back; only a new one does.
                    lost.set()
                if lost.is_set() and data:
                    continue
                if not data:
                    break
                sink.sendall(self._shape(data) if is_down else data)
        except OSError:
            pass
        if not lost.is_set():
            _shut(source)
            _shut(sink)

    def _shape(self, data: bytes) -> bytes:
        start = self.passed_bytes
        if self.cut_at is not None and start + len(data) >= self.cut_at:
            self.cut_at = None
            raise OSError("cut")
        self.passed_bytes += len(data)
        if self.damage_at is not None and start + len(data) > self.damage_at:
            place = max(0, self.damage_at - start)
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            self.damage_at = None
        if self.pause_s:
            time.sleep(self.pause_s)
        return data


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()
