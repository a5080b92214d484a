"""The places under /v2: which model is served, whether it is ready, and what it answers to a tensor."""

from typing import Any, Callable, Dict, Optional, Tuple

from contract import __version__
from contract import inference_protocol as protocol
from contract.errors import MessageError
from contract.inference_protocol import HEADER_LENGTH
from contract.messages import Prediction, Problem
from edge_agent.errors import RequestError
from edge_agent.events import ARRAY
from edge_agent.inference.predictor import Serving
from edge_agent.serving.answers import Answer, answer_json, answer_protocol_problem
from edge_agent.serving.asking import Asker
from edge_agent.serving.routes import Request

PLATFORM = "tensorflow_lite"
_CHANGED = Problem("busy", "another model took over meanwhile", "ask again")


class ProtocolEndpoints:
    """Answers what the Open Inference Protocol asks."""

    def __init__(
        self,
        asker: Asker,
        servings: Callable[[], Dict[str, Serving]],
        why_not_ready: Callable[[], Optional[str]],
    ) -> None:
        """Prepare.

        Args:
            asker: asks the loop.
            servings: returns who answers now, by the model's name on this device; called from any thread.
            why_not_ready: as for /readyz.
        """
        self._asker = asker
        self._servings = servings
        self._why_not_ready = why_not_ready

    def describe_server(self, _request: Request) -> Answer:
        """GET /v2."""
        extensions = list(protocol.EXTENSIONS)
        return answer_json({"name": "reefline", "version": __version__, "extensions": extensions})

    def tell_live(self, _request: Request) -> Answer:
        """GET /v2/health/live."""
        return answer_json({"live": True})

    def tell_ready(self, _request: Request) -> Answer:
        """GET /v2/health/ready."""
        reason = self._why_not_ready()
        if reason is not None:
            return answer_protocol_problem(Problem("not_ready", reason))
        return answer_json({"ready": True})

    def tell_model_ready(self, request: Request, name: str, version: str = "") -> Answer:
        """GET /v2/models/NAME/ready."""
        try:
            self._find(name, version)
        except RequestError as error:
            return answer_protocol_problem(error.problem())
        return self.tell_ready(request)

    def describe_model(self, _request: Request, name: str, version: str = "") -> Answer:
        """GET /v2/models/NAME."""
        try:
            _, serving = self._find(name, version)
        except RequestError as error:
            return answer_protocol_problem(error.problem())
        ready = serving.ready
        version_ = serving.model.version
        return answer_json(protocol.describe_model(version_, PLATFORM, ready.inputs, ready.outputs))

    def infer(self, request: Request, name: str, version: str = "") -> Answer:
        """POST /v2/models/NAME/infer."""
        header_length = request.headers.get(HEADER_LENGTH.lower(), "")
        try:
            lane, serving = self._find(name, version)
            given = serving.ready.outputs
            question = protocol.read_question(request.body, header_length, serving.ready.inputs, given)
        except RequestError as error:
            return answer_protocol_problem(error.problem())
        except MessageError as error:
            return answer_protocol_problem(Problem("bad_request", str(error)[:1000]))
        found = self._asker.ask(ARRAY, question.payload, model=lane, takes_raw=True)
        if isinstance(found.result, Problem):
            return answer_protocol_problem(found.result)
        if found.result.model != serving.model.version:
            # The question was checked against the other one.
            return answer_protocol_problem(_CHANGED)
        model, told = found.result.model, _tell(found.result)
        try:
            answer, json_bytes = protocol.write_answer(question, model, given, found.output, told)
        except MessageError as error:
            return answer_protocol_problem(Problem("model_not_finite", str(error)[:1000]))
        if not question.is_binary:
            return Answer(200, {"Content-Type": "application/json"}, answer)
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(json_bytes)}
        return Answer(200, headers, answer)

    def _find(self, name: str, version: str) -> Tuple[str, Serving]:
        """Return who answers for a model, and that model's name on this device.

        `name` may be that name too, and is looked up among those first.

        Raises:
            RequestError: no model, another one, or another version is served.
        """
        servings = self._servings()
        if not servings:
            raise RequestError("no_model", "no model is loaded")
        by_release = {serving.model.version.name: lane for lane, serving in reversed(list(servings.items()))}
        lane = name if name in servings else by_release.get(name)
        if lane is not None and version in ("", servings[lane].model.version.version):
            return lane, servings[lane]
        asked = f"{name} {version}".strip()[:200]
        served = ", ".join(
            f"{lane or each.model.version.name} {each.model.version.version}"
            for lane, each in servings.items()
        )
        raise RequestError("unknown_model", f"no model {asked!r} is served, only {served}")


def _tell(prediction: Prediction) -> Dict[str, Any]:
    """Return what the answer says beside its tensors."""
    return {"label": prediction.label, "score": prediction.score, "backend": prediction.backend}
