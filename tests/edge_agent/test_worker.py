import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.inference import frames
from edge_agent.inference.frames import receive, send, send_socket

MEMORY_BYTES = 512 * 1024 * 1024


class Program:
    """The real worker program, and our end of its socket."""

    def __init__(self):
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.inference.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.DEVNULL,
            )
        self.connection = self.connect()

    def connect(self):
        ours, theirs = socket.socketpair()
        with theirs:
            send_socket(self.control, theirs)
        return ours

    def ask(self, header, body=b""):
        send(self.connection, header, body)
        return receive(self.connection, time.monotonic() + 30)[0]

    def load(self, files, **changes):
        header = {
            "do": frames.LOAD,
            "model": str(files.model),
            "labels": str(files.labels),
            "preprocessing": str(files.preprocessing),
            "top_k": 3,
            "min_score": 0.3,
            "max_pixels": 1_000_000,
            "memory_bytes": MEMORY_BYTES,
            "edgetpu": None,
        }
        return self.ask(dict(header, **changes))

    def classify(self, kind, body):
        return self.ask({"do": frames.CLASSIFY, "key": 1, "kind": kind, "top_k": None}, body)

    def close(self):
        self.connection.close()
        self.control.close()
        return self.process.wait(10)


@pytest.fixture
def program():
    program = Program()
    yield program
    program.connection.close()
    program.control.close()
    if program.process.poll() is None:
        program.process.kill()
    program.process.wait()


def encode_png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def code_of(answer):
    return answer["problem"]["code"]


def save_golden(path, **arrays):
    np.savez(str(path), **arrays)
    return str(path)


def test_loading_tells_what_the_model_takes_and_gives(program, tiny_files):
    """READY carries runtime, backend, inputs and outputs."""
    answer = program.load(tiny_files)
    assert answer["is"] == frames.READY and answer["backend"] == "cpu"
    assert answer["inputs"][0]["shape"] == [1, 28, 28, 1]
    assert answer["outputs"][0]["shape"] == [1, 10]


def test_picture_and_array_get_the_same_answer(program, tiny_files, golden):
    """A PNG of the golden sample and its raw tensor are the same input."""
    program.load(tiny_files)
    sample = golden[0][5]
    from_image = program.classify("image", encode_png(sample[:, :, 0]))
    from_array = program.classify("array", sample.tobytes())
    assert from_image["top"] == from_array["top"]
    assert from_array["top"][0]["id"] == golden[1][5].argmax()
    assert all(from_image[part] >= 0 for part in ("preprocess_ms", "inference_ms", "postprocess_ms"))


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [("image", b"no picture", "bad_image"), ("array", b"abc", "bad_input"), ("array", b"", "bad_input")],
)
def test_wrong_input_is_refused_and_the_next_is_answered(program, tiny_files, golden, kind, body, code):
    """A client's mistake costs only its own answer."""
    program.load(tiny_files)
    assert code_of(program.classify(kind, body)) == code
    assert program.classify("array", golden[0][0].tobytes())["top"]


def test_golden_samples_agree(program, tiny_files):
    """All samples keep their first label, no output is off by more than one step."""
    program.load(tiny_files)
    result = program.ask({"do": frames.TEST, "golden": str(tiny_files.golden)})["result"]
    assert (result["samples"], result["top1_agreement"]) == (20, 1.0)
    assert result["max_lsb"] <= 1 and result["p95_ms"] > 0


def test_disagreement_is_measured(program, tiny_files, golden, tmp_path):
    """One of four labels differs and one output is 200 steps off: 0.75 and 200 are reported."""
    program.load(tiny_files)
    inputs, outputs = golden[0][:4], golden[1][:4].copy()
    outputs[1] = 0
    outputs[1][7] = 9
    outputs[2] = np.where(outputs[2] == outputs[2].max(), outputs[2] - 40, outputs[2])
    answer = program.ask(
        {"do": frames.TEST, "golden": save_golden(tmp_path / "g.npz", inputs=inputs, outputs=outputs)}
    )
    assert answer["result"]["top1_agreement"] == 0.75
    assert answer["result"]["max_lsb"] >= 200


def test_difference_counts_in_both_directions(program, tiny_files, golden, tmp_path):
    """An answer three steps below the recorded one is three steps off, not 253."""
    program.load(tiny_files)
    inputs, outputs = golden[0][:2], golden[1][:2].copy()
    outputs[0][outputs[0].argmin()] += 3
    answer = program.ask(
        {"do": frames.TEST, "golden": save_golden(tmp_path / "g.npz", inputs=inputs, outputs=outputs)}
    )
    assert 2 <= answer["result"]["max_lsb"] <= 4


def test_model_that_gives_one_answer_to_everything_is_refused(program, tiny_files, golden, tmp_path):
    """Where the recorded answers differ, a model whose answers do not is dead."""
    program.load(tiny_files)
    inputs = np.repeat(golden[0][:1], 5, axis=0)
    outputs = golden[1][:5]
    answer = program.ask(
        {"do": frames.TEST, "golden": save_golden(tmp_path / "g.npz", inputs=inputs, outputs=outputs)}
    )
    assert answer["is"] == frames.FAILED and code_of(answer) == "selftest_constant"


def test_model_whose_recorded_answers_are_all_the_same_may_repeat_them(program, tiny_files, golden, tmp_path):
    """It does what it did where it was made."""
    program.load(tiny_files)
    inputs = np.repeat(golden[0][:1], 5, axis=0)
    outputs = np.repeat(golden[1][:1], 5, axis=0)
    answer = program.ask(
        {"do": frames.TEST, "golden": save_golden(tmp_path / "g.npz", inputs=inputs, outputs=outputs)}
    )
    assert answer["result"]["top1_agreement"] == 1.0


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"inputs": np.zeros((2, 28, 28, 1), np.uint8)}, "golden_unreadable"),
        (
            {"inputs": np.array([{"a": 1}], dtype=object), "outputs": np.zeros((1, 10), np.uint8)},
            "golden_unreadable",
        ),
        (
            {"inputs": np.zeros((2, 28, 28, 1), np.uint8), "outputs": np.zeros((3, 10), np.uint8)},
            "golden_mismatch",
        ),
        (
            {"inputs": np.zeros((2, 28, 28, 1), np.int8), "outputs": np.zeros((2, 10), np.uint8)},
            "golden_mismatch",
        ),
        (
            {"inputs": np.zeros((2, 9, 9, 1), np.uint8), "outputs": np.zeros((2, 10), np.uint8)},
            "golden_mismatch",
        ),
        (
            {"inputs": np.zeros((0, 28, 28, 1), np.uint8), "outputs": np.zeros((0, 10), np.uint8)},
            "golden_mismatch",
        ),
    ],
)
def test_golden_file_must_fit_the_model(program, tiny_files, tmp_path, arrays, code):
    """Missing, pickled, empty or foreign arrays are told by a code."""
    program.load(tiny_files)
    answer = program.ask({"do": frames.TEST, "golden": save_golden(tmp_path / "g.npz", **arrays)})
    assert answer["is"] == frames.FAILED and code_of(answer) == code


def test_golden_file_that_is_no_file_is_told_by_a_code(program, tiny_files, tmp_path):
    """A damaged zip is `golden_unreadable`."""
    program.load(tiny_files)
    path = tmp_path / "g.npz"
    path.write_bytes(tiny_files.golden.read_bytes()[:3000])
    assert code_of(program.ask({"do": frames.TEST, "golden": str(path)})) == "golden_unreadable"


@pytest.mark.parametrize(
    ("role", "content", "code"),
    [
        ("model", b"garbage", "model_unreadable"),
        ("labels", b"only\ntwo\n", "labels_mismatch"),
        ("labels", b"\xff\xfe", "labels_unreadable"),
        ("labels", b"x" * 129, "labels_unreadable"),
        ("preprocessing", b"{}", "preprocessing_unreadable"),
        (
            "preprocessing",
            b'{"v":1,"height":32,"width":32,"channels":1}',
            "preprocessing_mismatch",
        ),
    ],
)
def test_files_that_do_not_fit_are_told_by_a_code(program, tiny_files, tmp_path, role, content, code):
    """Each file of a release that is wrong has its own reason."""
    path = tmp_path / "wrong"
    path.write_bytes(content)
    answer = program.load(tiny_files, **{role: str(path)})
    assert answer["is"] == frames.FAILED and code_of(answer) == code


def test_work_before_loading_is_refused(program, tiny_files):
    """Without a model there is no answer, and no crash."""
    assert code_of(program.ask({"do": frames.TEST, "golden": str(tiny_files.golden)})) == "worker_protocol"


def test_memory_limit_refuses_a_large_picture(program, tiny_files, golden):
    """One that needs more memory than allowed costs an answer, not the board; it is the sender's fault."""
    size = 9000
    program.load(tiny_files, memory_bytes=160 * 1024 * 1024, max_pixels=size * size)
    picture = encode_png(np.zeros((size, size, 3), np.uint8))
    problem = program.classify("image", picture)["problem"]
    assert problem["code"] == "bad_image" and "memory" in problem["message"]
    assert program.classify("array", golden[0][0].tobytes())["top"]


def test_limits_are_set(program, tiny_files):
    """No core dump, and bounded memory."""
    program.load(tiny_files)
    with Path(f"/proc/{program.process.pid}/limits").open() as file:
        limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max data size"] == [str(MEMORY_BYTES)] * 2


def test_worker_leaves_when_its_socket_is_closed(program, tiny_files):
    """The end of the agent is the end of its worker."""
    program.load(tiny_files)
    assert program.close() == 0


def test_busy_worker_leaves_when_its_socket_is_closed(program, tiny_files, tmp_path):
    """Also in the middle of its work, which it does not finish: that would be exit code 0."""
    program.load(tiny_files)
    inputs, outputs = np.zeros((200_000, 28, 28, 1), np.uint8), np.zeros((200_000, 10), np.uint8)
    path = str(tmp_path / "g.npz")
    np.savez_compressed(path, inputs=inputs, outputs=outputs)
    send(program.connection, {"do": frames.TEST, "golden": path})
    assert program.close() == 1


def test_ctrl_c_is_for_the_agent_alone(program, tiny_files, golden):
    """SIGINT goes to the whole terminal group; the worker goes on until the agent lets it go."""
    program.load(tiny_files)
    os.kill(program.process.pid, signal.SIGINT)
    assert program.classify("array", golden[0][0].tobytes())["top"]


def test_headers_are_plain_json(program, tiny_files):
    """Nothing is pickled between the two processes."""
    assert json.loads(json.dumps(program.load(tiny_files)))["is"] == frames.READY
