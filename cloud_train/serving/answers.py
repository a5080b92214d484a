"""What HTTP clients are told: a status, headers and a body, for each kind of result."""

import json
from typing import Any, NamedTuple

from contract.messages import Problem
from contract.records import dump_record

JSON_TYPE = "application/json"

# What went wrong is said in the words of a board's HTTP server, so that a client knows both.
STATUS_BY_CODE = {
    "bad_request": 400,
    "bad_image": 400,
    "bad_input": 400,
    "not_found": 404,
    "unknown_model": 404,
    "not_allowed": 405,
    "slow": 408,
    "too_large": 413,
    "unsupported_type": 415,
    "internal": 500,
    "model_not_finite": 500,
    "busy": 503,
    "timeout": 504,
}
_RETRY_AFTER_S = "1"
_MAX_CHARACTERS = 1000


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Refused(Exception):
    """A request that is not served: a stable code, what is wrong, what to try."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(code, message[:_MAX_CHARACTERS], hint[:_MAX_CHARACTERS])

    @property
    def status(self) -> int:
        """The HTTP status that says so."""
        return STATUS_BY_CODE[self.problem.code]


def answer_json(document: Any) -> Answer:
    """Return 200 with a JSON document."""
    return answer_bytes(_dump(document), JSON_TYPE)


def answer_bytes(body: bytes, content_type: str) -> Answer:
    """Return 200 with a body of a type."""
    return Answer(200, {"Content-Type": content_type}, body)


def answer_refusal(refused: Refused, is_protocol: bool) -> Answer:
    """Say why: as code, message and hint, or as the one text that the Open Inference Protocol wants."""
    problem = refused.problem
    error = f"{problem.code}: {problem.message}" if is_protocol else dump_record(problem)
    headers = {"Content-Type": JSON_TYPE}
    if refused.status == STATUS_BY_CODE["busy"]:
        headers["Retry-After"] = _RETRY_AFTER_S
    return Answer(refused.status, headers, _dump({"error": error}))


def _dump(document: Any) -> bytes:
    # A line of its own, where curl shows it on a terminal.
    return json.dumps(document, ensure_ascii=False).encode("utf-8") + b"\n"
