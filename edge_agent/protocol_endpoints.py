"""The places under /v2: which model is served, whether it is ready, and what it answers to a tensor."""

from typing import Callable, Optional

from contract import __version__
from contract.messages import Problem
from edge_agent import inference_protocol as protocol
from edge_agent.answers import Answer, answer_json, answer_protocol_problem
from edge_agent.asking import Asker
from edge_agent.errors import RequestError
from edge_agent.events import ARRAY
from edge_agent.predictor import Serving

HEADER_LENGTH = "Inference-Header-Content-Length"
_CHANGED = Problem("busy", "another model took over meanwhile", "ask again")


class ProtocolEndpoints:
    """Answers what the Open Inference Protocol asks; one model is served, with one input and one output."""

    def __init__(
        self,
        asker: Asker,
        serving: Callable[[], Optional[Serving]],
        why_not_ready: Callable[[], Optional[str]],
    ) -> None:
        """Prepare.

        Args:
            asker: asks the loop.
            serving: returns who answers now; called from any thread.
            why_not_ready: as for /readyz.
        """
        self._asker = asker
        self._serving = serving
        self._why_not_ready = why_not_ready

    def describe_server(self) -> Answer:
        """GET /v2."""
        extensions = list(protocol.EXTENSIONS)
        return answer_json({"name": "reefline", "version": __version__, "extensions": extensions})

    def tell_live(self) -> Answer:
        """GET /v2/health/live."""
        return answer_json({"live": True})

    def tell_ready(self) -> Answer:
        """GET /v2/health/ready."""
        reason = self._why_not_ready()
        if reason is not None:
            return answer_protocol_problem(Problem("not_ready", reason))
        return answer_json({"ready": True})

    def tell_model_ready(self, name: str, version: str = "") -> Answer:
        """GET /v2/models/NAME/ready."""
        try:
            self._find(name, version)
        except RequestError as error:
            return answer_protocol_problem(error.problem())
        return self.tell_ready()

    def describe_model(self, name: str, version: str = "") -> Answer:
        """GET /v2/models/NAME."""
        try:
            serving = self._find(name, version)
        except RequestError as error:
            return answer_protocol_problem(error.problem())
        ready = serving.ready
        return answer_json(protocol.describe_model(serving.model.version, ready.inputs, ready.outputs))

    def infer(self, body: bytes, header_length: str, name: str, version: str = "") -> Answer:
        """POST /v2/models/NAME/infer."""
        try:
            serving = self._find(name, version)
            taken, given = serving.ready.inputs[0], serving.ready.outputs[0]
            question = protocol.read_question(body, header_length, taken, given)
        except RequestError as error:
            return answer_protocol_problem(error.problem())
        found = self._asker.ask(ARRAY, question.payload)
        if isinstance(found.result, Problem):
            return answer_protocol_problem(found.result)
        if found.result.model != serving.model.version:
            # The question was checked against the other one.
            return answer_protocol_problem(_CHANGED)
        answer, json_bytes = protocol.write_answer(question, found.result, given, found.output)
        if not question.is_binary:
            return Answer(200, {"Content-Type": "application/json"}, answer)
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(json_bytes)}
        return Answer(200, headers, answer)

    def _find(self, name: str, version: str) -> Serving:
        """Return who answers for a model.

        Raises:
            RequestError: no model, another one, or another version is served.
        """
        serving = self._serving()
        if serving is None:
            raise RequestError("no_model", "no model is loaded")
        model = serving.model.version
        if name != model.name or version not in ("", model.version):
            asked = f"{name} {version}".strip()[:200]
            raise RequestError(
                "unknown_model", f"no model {asked!r} is served, only {model.name} {model.version}"
            )
        return serving
