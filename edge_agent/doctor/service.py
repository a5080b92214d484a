"""Checks of what lets pictures in and is changed from outside: HTTP, sources, orders over MQTT."""

import http.client
import os
import socket
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from edge_agent.clock import Clock
from edge_agent.config import HttpConfig
from edge_agent.doctor.findings import Check, Finding, fail, ok, skipped, warn
from edge_agent.doctor.visit import Visit
from edge_agent.source_config import CAMERA, DELETE, FOLDER, MOVE, SourceConfig
from edge_agent.upkeep.live_config import OVERRIDES, LiveConfig

_ANSWER_LIMIT_S = 2.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_OK = 200


def check_access(visit: Visit) -> Finding:
    """Other machines can ask only with a token, and its file is a secret."""
    from edge_agent.serving.server import build_gate

    settings = visit.settings.http
    if not settings.enabled:
        return skipped("http.enabled is false")
    build_gate(settings)
    if settings.token_file is not None:
        return ok(f"{settings.host}, with the token of {settings.token_file}")
    return ok(f"{settings.host}: only this machine may ask")


def check_port(visit: Visit) -> Finding:
    """The running agent answers there; without one nobody else does."""
    settings = visit.settings.http
    if settings.port == 0:
        return skipped("http.port is 0: the agent takes a free one")
    if visit.is_agent_running():
        return _ask(settings)
    return _bind(settings)


def check_overrides(visit: Visit) -> Finding:
    """What orders over MQTT have changed still fits the file."""
    path = visit.state_dir / OVERRIDES
    if not path.exists():
        return skipped("no order has changed a setting")
    live = LiveConfig(visit.settings, Clock())
    if live.error is not None:
        return warn(f"{path} is not used: {live.error.message}", f"rm {path}, and restart the agent")
    return ok(f"orders have changed: {', '.join(_name_keys(live.overrides))}")


def check_sources(visit: Visit) -> Finding:
    """Folders and cameras are there, and this user may use them."""
    sources = {name: each for name, each in visit.settings.sources.items() if each.kind is not None}
    if not sources:
        return skipped("the configuration names no folder and no camera")
    for name, each in sources.items():
        found = _look_at_folder(each) if each.kind == FOLDER else _look_at_camera(each)
        if found is not None:
            return fail(f"{name}: {found.message}", found.hint)
    return ok(", ".join(f"{name} ({each.kind})" for name, each in sources.items()))


CHECKS: Tuple[Check, ...] = (
    Check("settings", check_overrides, "state folder"),
    Check("sources", check_sources, "config"),
    Check("http access", check_access, "config"),
    Check("http port", check_port, "http access"),
)


def _ask(settings: HttpConfig) -> Finding:
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    where = f"{host} port {settings.port}"
    connection = http.client.HTTPConnection(host, settings.port, timeout=_ANSWER_LIMIT_S)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return fail(f"the agent runs, but {where} does not answer: {error}", "restart the agent, see its log")
    finally:
        connection.close()
    if status != _OK:
        return fail(f"{where} answers {status}", "another program is there: sudo ss -ltnp")
    return ok(f"{where} answers")


def _bind(settings: HttpConfig) -> Finding:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            said = f"{settings.host} port {settings.port} cannot be had: {error.strerror}"
            return fail(said, f"sudo ss -ltnp 'sport = :{settings.port}', or another http.port")
    return ok(f"{settings.host} port {settings.port} is free")


def _look_at_folder(source: SourceConfig) -> Optional[Finding]:
    rights = os.R_OK | os.X_OK | (os.W_OK if source.after in (DELETE, MOVE) else 0)
    for path in filter(None, (source.path, source.move_to)):
        if not Path(path).is_dir():
            return fail(f"{path} is not a folder", f"sudo install -d -o $USER {path}")
        if not os.access(path, rights):
            return fail(f"this user may not use {path}", f"ls -ld {path}; run it as the agent's user")
    if source.after == MOVE and Path(source.path).stat().st_dev != Path(source.move_to).stat().st_dev:
        return fail(f"{source.move_to} is on another file system", "choose a move_to beside path")
    return None


def _look_at_camera(source: SourceConfig) -> Optional[Finding]:
    from edge_agent.sources.camera_program import build_command
    from edge_agent.sources.stream import StreamLost

    assert source.kind == CAMERA, "a source that is neither a folder nor a camera"
    try:
        build_command(source)
    except StreamLost as lost:
        return fail(str(lost), "sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good")
    if source.device.startswith("/"):
        if not Path(source.device).exists():
            return fail(f"{source.device} is not there", "plug it in; v4l2-ctl --list-devices")
        if not os.access(source.device, os.R_OK):
            return fail(f"this user may not read {source.device}", "sudo usermod -aG video $USER")
    return None


def _name_keys(overrides: Dict[str, Any], place: str = "") -> List[str]:
    """Return the dotted keys of a tree."""
    keys: List[str] = []
    for key, value in overrides.items():
        path = f"{place}{key}"
        keys += _name_keys(value, f"{path}.") if isinstance(value, dict) else [path]
    return keys
