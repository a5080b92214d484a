"""Ports of loopback for the servers that tests start, and when they listen."""

import random
import socket
import subprocess
import time

# Below those that the kernel lends to outgoing connections, which would take one before its server does.
_PORTS = range(10_000, 30_000)
_PATIENCE_S = 20.0


def take_free_port() -> int:
    """Return a port of loopback where nobody listens."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for_port(port: int, server: subprocess.Popen) -> None:
    """Wait until a server accepts connections; fail as soon as it has ended."""
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s:
        assert server.poll() is None, f"the server ended with {server.poll()}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(f"nobody listens on port {port}")
