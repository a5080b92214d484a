"""Promises of serving.routes: each request finds its endpoint, or learns that there is none."""

from typing import Any

import pytest

from edge_agent.serving.answers import Answer
from edge_agent.serving.routes import NoRoute, Request, Routes


def echo(name: str) -> Any:
    """Return an endpoint that says who it is and what it was given."""
    return lambda request, **names: Answer(200, {}, f"{name} {sorted(names.items())}".encode())


@pytest.fixture
def routes() -> Routes:
    found = Routes()
    found.add("GET", "/a", echo("get"))
    found.add("POST", "/a", echo("post"))
    found.add("GET", "/m/<name>", echo("model"))
    found.add("POST", "/m/<name>/versions/<version>", echo("version"))
    return found


def ask(routes: Routes, method: str, path: str) -> bytes:
    return routes.answer(Request(method, path, "", {}, b"")).body


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/a", b"get []"),
        ("HEAD", "/a", b"get []"),
        ("POST", "/a", b"post []"),
        ("GET", "/m/x", b"model [('name', 'x')]"),
        ("GET", "/m/a%2Fb%20c", b"model [('name', 'a/b c')]"),
        ("POST", "/m/x/versions/3", b"version [('name', 'x'), ('version', '3')]"),
    ],
)
def test_a_request_finds_its_endpoint(routes: Routes, method: str, path: str, answer: bytes) -> None:
    """By path and method; each <name> is one segment, decoded after the path was cut."""
    assert ask(routes, method, path) == answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/b", 404),
        ("GET", "/m/", 404),
        ("GET", "/m/x/y", 404),
        ("GET", "/a/", 404),
        ("PUT", "/a", 405),
        ("POST", "/m/x", 405),
    ],
)
def test_a_request_without_an_endpoint_is_told_so(
    routes: Routes, method: str, path: str, status: int
) -> None:
    """404 for a path that is nowhere, 405 for one that answers other methods."""
    with pytest.raises(NoRoute) as raised:
        ask(routes, method, path)
    assert raised.value.status == status


def test_the_last_value_of_a_parameter_counts() -> None:
    """An empty one is a value too."""
    assert Request("GET", "/", "k=1&k=2&m=&x=a%20b", {}, b"").parameters() == {"k": "2", "m": "", "x": "a b"}
