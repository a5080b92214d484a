"""What HTTP clients are told: a status, headers and a body, for each kind of result."""

import json
from typing import Any, Dict, NamedTuple

from contract.messages import Problem
from contract.records import dump_record

_STATUS_BY_CODE = {
    "bad_request": 400,
    "bad_image": 400,
    "bad_input": 400,
    "model_output_raw": 400,
    "unknown_model": 404,
    "unsupported_type": 415,
    "internal": 500,
    "timeout": 504,
}
_UNAVAILABLE = 503
_RETRY_AFTER_S = "1"


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Dict[str, str]
    body: bytes


def answer_json(document: Any) -> Answer:
    """Return 200 with a JSON document."""
    return answer_bytes(json.dumps(document, ensure_ascii=False).encode("utf-8"), "application/json")


def answer_bytes(body: bytes, content_type: str) -> Answer:
    """Return 200 with a body of a type."""
    return Answer(200, {"Content-Type": content_type}, body)


def answer_problem(problem: Problem) -> Answer:
    """Return a problem as the agent tells it everywhere: code, message, hint."""
    return _refuse(problem, dump_record(problem))


def answer_protocol_problem(problem: Problem) -> Answer:
    """Return a problem as the Open Inference Protocol wants it: one text."""
    return _refuse(problem, f"{problem.code}: {problem.message}")


def _refuse(problem: Problem, error: Any) -> Answer:
    status = _STATUS_BY_CODE.get(problem.code, _UNAVAILABLE)
    headers = {"Content-Type": "application/json"}
    if status == _UNAVAILABLE:
        headers["Retry-After"] = _RETRY_AFTER_S
    return Answer(status, headers, json.dumps({"error": error}).encode("ascii"))
