"""What counts as a working agent: online since a new start, and a right answer of that start."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from contract.codec import decode, encode
from contract.messages import InferAnswer, InferError, InferRequest, ModelVersion, Prediction, Problem
from deploy.flashing.pictures import draw_grey
from deploy.flashing.proof import EXPECTED, NotProven, Wait, open_witness
from tests.deploy.fake_device import BOOT, make_prediction

OLD_BOOT = BOOT[:-1] + "C"
LABELS = {picture: label for label, picture in EXPECTED.items()}


def patience(seconds: float = 30.0) -> Wait:
    return Wait.at_most(seconds, lambda: None)


@dataclass(frozen=True)
class Until(Wait):
    """Time that is up when something has happened."""

    is_up: Callable[[], bool]

    @property
    def left_s(self) -> float:
        return 0.0 if self.is_up() else super().left_s


def answering(device, answer: Callable[[Prediction, str], InferAnswer | InferError | None]) -> None:
    """Have a device answer every question by `answer(what a right device says, transaction)`."""

    def reply(client, userdata, message) -> None:
        request = decode(InferRequest, message.payload)
        label = LABELS[request.image_b64]
        model = ModelVersion("brightness", "1", "a" * 64)
        said = answer(replace(make_prediction(device.name, 1), label=label, model=model), request.transaction)
        if said is not None:
            client.publish(device.topics.infer_response(device.name), encode(said), 1)

    device.client.message_callback_add(device.topics.infer(device.name), reply)
    device.client.subscribe(device.topics.infer(device.name), 1)


def as_answer(prediction: Prediction, transaction: str) -> InferAnswer:
    return InferAnswer(**vars(prediction), transaction=transaction)


def test_a_device_that_is_online_and_right_is_proven(address, base, device):
    """Its agent's version and start, the model, and what it says of a white picture."""
    answering(device, as_answer)
    device.report("active", 1, boot=BOOT)
    with open_witness(address, base, device.name) as witness:
        assert witness.await_start(OLD_BOOT, patience()).name == device.name
        proof = witness.prove(patience())
    assert (proof.agent, proof.boot, proof.model, proof.label) == ("0.1.0", BOOT, "brightness 1", "bright")


def test_the_start_from_before_does_not_count(address, base, device):
    """An agent that was not started anew, or is not connected, has not come up."""
    device.report("active", 1, boot=BOOT)
    with open_witness(address, base, device.name) as witness:
        with pytest.raises(NotProven, match="did not come online again"):
            witness.await_start(BOOT, patience(0.2))
        device.send(device.topics.status(device.name), b"offline")
        witness.catch_up()
        with pytest.raises(NotProven, match="went offline again"):
            witness.await_start(OLD_BOOT, patience(0.2))


def test_a_device_that_nobody_heard_of_did_not_come_online(address, base):
    """Also when its name is new to the broker."""
    with open_witness(address, base, "reef-9") as witness, pytest.raises(NotProven, match=r"online$"):
        witness.await_start("", patience(0.2))


@pytest.mark.parametrize(
    ("change", "seconds", "what"),
    [
        ({"label": "dark"}, 30.0, "it says 'dark' of a picture that is bright"),
        ({"boot": OLD_BOOT}, 0.5, "it does not answer"),
    ],
)
def test_a_wrong_answer_is_no_proof(address, base, device, change, seconds, what):
    """Nor is one of an earlier start."""
    answering(device, lambda prediction, number: as_answer(replace(prediction, **change), number))
    with open_witness(address, base, device.name) as witness, pytest.raises(NotProven, match=what):
        witness.prove(patience(seconds))


def test_another_model_may_say_what_it_likes(address, base, device):
    """Only of the first model we know what is right."""
    cat = {"label": "cat", "model": ModelVersion("pets", "3", "b" * 64)}
    answering(device, lambda prediction, number: as_answer(replace(prediction, **cat), number))
    with open_witness(address, base, device.name) as witness:
        assert (witness.prove(patience()).label, witness.prove(patience()).model) == ("cat", "pets 3")


def test_an_error_is_asked_again_and_told_in_the_end(address, base, device):
    """A model that is still being loaded is no failure; one that never answers is."""
    errors = [Problem("no_model", "no model is installed yet")]

    def answer(prediction, number):
        return InferError(number, errors.pop()) if errors else as_answer(prediction, number)

    answering(device, answer)
    with open_witness(address, base, device.name) as witness:
        assert witness.prove(patience()).label == "bright"
        errors += [Problem("busy", "too many\x1bquestions")] * 100
        wait = Until(**vars(patience()), is_up=lambda: len(errors) < 100)
        with pytest.raises(NotProven, match=r"it answers: too many questions \(busy\)"):
            witness.prove(wait)


def test_garbage_and_answers_to_others_are_passed_over(address, base, device):
    """Whoever else asks the board, and whatever it says."""

    def answer(prediction, number):
        for payload in (
            b"",
            b"\xff{",
            b"[" * 5000,
            encode(as_answer(replace(prediction, label="x"), "other")),
        ):
            device.client.publish(device.topics.infer_response(device.name), payload, 1)
        return as_answer(prediction, number)

    answering(device, answer)
    with open_witness(address, base, device.name) as witness:
        assert witness.prove(patience()).label == "bright"


def test_ctrl_c_ends_the_waiting(address, base, device):
    """Long before the time is up."""

    def check() -> None:
        raise KeyboardInterrupt

    with open_witness(address, base, device.name) as witness, pytest.raises(KeyboardInterrupt):
        witness.prove(Wait.at_most(600.0, check))


def test_a_board_lacks_a_model_only_when_none_is_on_its_way(address, base, device, topics):
    """Not when it runs one, nor when its channel has one for it."""
    device.report("idle", None, boot=BOOT)
    with open_witness(address, base, device.name) as witness:
        assert witness.lacks_model()
    device.send(topics.channel_desired("stable"), b"a release")
    with open_witness(address, base, device.name) as witness:
        assert not witness.lacks_model()


def test_the_pictures_are_what_they_are_called():
    """A PNG of one grey, read by another program's library."""
    image = pytest.importorskip("PIL.Image")
    import io

    for value in (0, 255):
        picture = image.open(io.BytesIO(draw_grey(value)))
        assert (picture.size, picture.getextrema()) == ((8, 8), (value, value))
