"""The places under /v2, the Open Inference Protocol: what is served, and what it answers to a tensor."""

from cloud_train.serving.answers import JSON_TYPE, Answer, Refused, answer_json
from cloud_train.serving.predictor import Predictor
from cloud_train.serving.served_model import Tensor
from contract import __version__
from contract import inference_protocol as protocol
from contract.errors import MessageError

PLATFORM = "keras"


class ProtocolEndpoints:
    """Answers what the Open Inference Protocol asks about the one model that is served."""

    def __init__(self, predictor: Predictor, max_batch: int) -> None:
        self._predictor = predictor
        self._model = predictor.model
        self._max_batch = max_batch

    def describe_server(self) -> Answer:
        """GET /v2."""
        extensions = list(protocol.EXTENSIONS)
        return answer_json({"name": "reefline", "version": __version__, "extensions": extensions})

    def tell_live(self) -> Answer:
        """GET /v2/health/live."""
        return answer_json({"live": True})

    def tell_ready(self) -> Answer:
        """GET /v2/health/ready: the server listens only when its model answers."""
        return answer_json({"ready": True})

    def tell_model_ready(self, name: str, version: str) -> Answer:
        """GET /v2/models/NAME/ready."""
        self._check(name, version)
        return answer_json({"name": name, "ready": True})

    def describe_model(self, name: str, version: str) -> Answer:
        """GET /v2/models/NAME."""
        self._check(name, version)
        model = self._model
        described = protocol.describe_model(
            model.version, PLATFORM, (model.taken,), (model.given,), takes_batches=True
        )
        return answer_json(described)

    async def infer(self, name: str, version: str, body: bytes, header_length: str) -> Answer:
        """POST /v2/models/NAME/infer."""
        self._check(name, version)
        question = await self._predictor.in_thread(self._read, body, header_length)
        scores = await self._predictor.score(question.payload, question.batch)
        best = [self._model.labels[index] for index in scores.argmax(axis=1)]
        for label in best:
            self._predictor.count(label)
        return await self._predictor.in_thread(self._write, question, scores, best)

    def _read(self, body: bytes, header_length: str) -> protocol.Question:
        taken, given = (self._model.taken,), (self._model.given,)
        try:
            return protocol.read_question(body, header_length, taken, given, max_batch=self._max_batch)
        except MessageError as error:
            raise Refused("bad_request", str(error)) from error

    def _write(self, question: protocol.Question, scores: Tensor, labels: list[str]) -> Answer:
        output, given = scores.astype("<f4").tobytes(), (self._model.given,)
        told = {"labels": labels}
        body, json_bytes = protocol.write_answer(question, self._model.version, given, output, told)
        if not question.is_binary:
            return Answer(200, {"Content-Type": JSON_TYPE}, body)
        headers = {"Content-Type": "application/octet-stream", protocol.HEADER_LENGTH: str(json_bytes)}
        return Answer(200, headers, body)

    def _check(self, name: str, version: str) -> None:
        served = self._model.version
        if name != served.name or version not in ("", served.version):
            asked = f"{name} {version}".strip()
            message = f"no model {asked!r} is served, only {served.name} {served.version}"
            raise Refused("unknown_model", message)
