"""Which endpoint answers which request: fixed paths, and patterns with one segment for each <name>."""

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import parse_qsl, unquote

from edge_agent.serving.answers import Answer


class Request(NamedTuple):
    """What a client asks.

    Attributes:
        method: GET, POST, ...
        path: as sent, percent-encoded.
        query: what stood behind the question mark.
        headers: values by lower-case name.
        body: whole.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def parameters(self) -> Dict[str, str]:
        """Return what the query says; of a name that stands twice the last value."""
        return dict(parse_qsl(self.query, keep_blank_values=True)) if self.query else {}


class NoRoute(Exception):
    """Nobody answers this; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


Endpoint = Callable[..., Answer]


class Routes:
    """Filled once, then read by many threads. An endpoint takes the request, and each <name> by its name."""

    def __init__(self) -> None:
        """Begin with no path."""
        self._fixed: Dict[str, Dict[str, Endpoint]] = {}
        self._patterns: List[Tuple[List[str], Dict[str, Endpoint]]] = []

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Let `endpoint` answer `method` on `path`; who answers GET answers HEAD too."""
        if "<" in path:
            self._patterns.append((path.split("/"), {method: endpoint}))
        else:
            self._fixed.setdefault(path, {})[method] = endpoint

    def answer(self, request: Request) -> Answer:
        """Return the endpoint's answer.

        Raises:
            NoRoute: there is none for this path or method.
        """
        endpoints, names = self._find(request.path)
        if not endpoints:
            raise NoRoute(404, f"there is nothing at {request.path[:200]!r}")
        endpoint = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise NoRoute(405, f"it does not answer {request.method}, only {', '.join(endpoints)}")
        return endpoint(request, **names)

    def _find(self, path: str) -> Tuple[Dict[str, Endpoint], Dict[str, str]]:
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, {}
        given = path.split("/")
        for pattern, endpoints in self._patterns:
            names = _match(pattern, given)
            if names is not None:
                return endpoints, names
        return {}, {}


def _match(pattern: List[str], given: List[str]) -> Optional[Dict[str, str]]:
    if len(pattern) != len(given):
        return None
    names = {}
    for wanted, found in zip(pattern, given):
        if wanted.startswith("<") and found:
            names[wanted[1:-1]] = unquote(found)
        elif wanted != found:
            return None
    return names
