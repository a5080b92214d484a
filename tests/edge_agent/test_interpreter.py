from types import SimpleNamespace

import numpy as np
import pytest

from contract.artifacts import TensorSpec
from edge_agent.errors import ModelError, RequestError
from edge_agent.inference import delegate, interpreter
from edge_agent.inference.interpreter import Interpreter


class FakeInterpreter:
    """An interpreter with the shapes, answers and faults that a test wants."""

    inputs = ((1, 2, 2, 1), np.uint8, (1.0, 0))
    outputs = ((1, 3), np.uint8, (1 / 256, 0))
    answer = np.array([[0, 0, 0]], np.uint8)
    failure = None
    extra_inputs = ()
    loads = ""

    def __init__(self, model_path, experimental_delegates=None):
        self.given = experimental_delegates

    def allocate_tensors(self):
        if self.loads:
            raise RuntimeError(self.loads)

    def get_input_details(self):
        return [self._detail(0, *self.inputs), *(self._detail(2, *extra) for extra in self.extra_inputs)]

    def get_output_details(self):
        return [self._detail(1, *self.outputs)]

    def set_tensor(self, index, value):
        self.tensors = {**getattr(self, "tensors", {}), index: value}

    def invoke(self):
        if self.failure:
            raise RuntimeError(self.failure)

    def get_tensor(self, index):
        assert index == 1
        return self.answer

    @staticmethod
    def _detail(index, shape, dtype, quantization):
        fixed = np.array([abs(size) for size in shape])
        return {
            "name": "t",
            "index": index,
            "shape": fixed,
            "shape_signature": np.array(shape),
            "dtype": dtype,
            "quantization": quantization,
        }


@pytest.fixture
def fake(monkeypatch):
    """Models that run on an interpreter with these attributes."""

    def build(path="model", edgetpu=None, load_delegate=None, **attributes):
        kind = type("Interpreter", (FakeInterpreter,), attributes)
        runtime = interpreter._Runtime("fake 1", kind, load_delegate)
        monkeypatch.setattr(interpreter, "_import_runtime", lambda: runtime)
        return Interpreter(path, edgetpu)

    return build


@pytest.fixture
def tiny(tiny_files):
    return Interpreter(tiny_files.model)


def code_of(raised):
    return raised.value.code


def test_model_tells_what_it_takes_and_gives(tiny):
    """Shapes, dtypes and quantization are those of the file."""
    (taken,), (given,) = tiny.inputs, tiny.outputs
    assert (taken.shape, taken.dtype, taken.zero_point) == ((1, 28, 28, 1), "uint8", 0)
    assert taken.scale == pytest.approx(1 / 255)
    assert (given.shape, given.dtype) == ((1, 10), "uint8")
    assert tiny.runtime.split()[0] in ("tflite_runtime", "ai_edge_litert", "tensorflow")
    assert tiny.backend == "cpu"


def test_golden_samples_get_their_recorded_answers(tiny, golden):
    """The interpreter answers what the model's maker saw, within one LSB."""
    for sample, expected in zip(*golden):
        answer = tiny.run([sample[np.newaxis]])[0]
        assert np.abs(answer[0].astype(int) - expected).max() <= 1


def test_answer_is_a_copy(tiny, golden):
    """A later run leaves an earlier answer alone."""
    inputs, _ = golden
    first = tiny.run([inputs[0][np.newaxis]])[0]
    kept = first.copy()
    second = tiny.run([inputs[1][np.newaxis]])[0]
    assert (first == kept).all() and (second != first).any()


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((28, 28, 1), np.uint8),
        np.zeros((1, 28, 28, 3), np.uint8),
        np.zeros((1, 28, 28, 1), np.float32),
    ],
)
def test_wrong_input_is_the_clients_mistake(tiny, tensor):
    """Another shape or dtype is refused before the interpreter sees it."""
    with pytest.raises(RequestError) as raised:
        tiny.run([tensor])
    assert code_of(raised) == "bad_input"


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_broken_file_is_told_by_a_code(tmp_path, content):
    """An empty, foreign or absent file is `model_unreadable`."""
    path = tmp_path / "broken.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        Interpreter(path)
    assert code_of(raised) == "model_unreadable"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"inputs": ((-1, 2, 2, 1), np.uint8, (1.0, 0))}, "model_not_static"),
        ({"inputs": ((1, 2, 2, 1), np.complex64, (0.0, 0))}, "model_input"),
        ({"outputs": ((1, 3), np.complex64, (0.0, 0))}, "model_output"),
        ({"loads": "Encountered unresolved custom op: edgetpu-custom-op."}, "model_needs_edgetpu"),
        (
            {
                "loads": "Failed to prepare for TPU. Failed precondition: "
                "Package requires runtime version (14),"
                " which is newer than this runtime version (13).Node number 1 failed to prepare."
            },
            "edgetpu_runtime_old",
        ),
        ({"loads": "Didn't find op for builtin opcode"}, "model_unreadable"),
    ],
)
def test_model_that_cannot_be_served_is_told_by_a_code(fake, attributes, code):
    """Each reason has its own code, and no traceback."""
    with pytest.raises(ModelError) as raised:
        fake(**attributes)
    assert code_of(raised) == code


def test_interpreter_that_gives_up_is_told_by_a_code(fake):
    """A failing run is `model_run`."""
    with pytest.raises(ModelError) as raised:
        fake(failure="node 3 failed").run([np.zeros((1, 2, 2, 1), np.uint8)])
    assert code_of(raised) == "model_run"


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A file with an operation for the Edge TPU, on a machine whose delegate library can be loaded."""
    monkeypatch.setattr(delegate, "LIBRARY", "libc.so.6")
    path = tmp_path / "compiled.tflite"
    path.write_bytes(b"TFL3 edgetpu-custom-op")
    return path


def test_compiled_model_runs_through_the_delegate(fake, compiled):
    """The library is told which Edge TPU, the interpreter gets the delegate, predictions say `edgetpu`."""
    given = []
    model = fake(path=compiled, edgetpu="pci:0", load_delegate=lambda *asked: given.append(asked) or "tpu")
    assert given == [("libc.so.6", {"device": "pci:0"})]
    assert (model.backend, model._interpreter.given) == ("edgetpu", ["tpu"])


def test_model_for_the_cpu_leaves_the_edge_tpu_alone(tiny_files, tiny_labels):
    """It has nothing to do for one, so that none has to be there; predictions say `cpu`."""
    assert Interpreter(tiny_files.model, edgetpu="pci:0").backend == "cpu"


def test_absent_delegate_library_is_told_by_a_code(fake, compiled, monkeypatch):
    """The CPU is not used in its place in silence."""
    monkeypatch.setattr(delegate, "LIBRARY", "libno-such.so.1")
    with pytest.raises(ModelError) as raised:
        fake(path=compiled, edgetpu=":0")
    assert code_of(raised) == "edgetpu_library_missing"


def test_delegate_that_refuses_in_silence_is_diagnosed(fake, compiled, monkeypatch):
    """Its empty error becomes what the machine tells."""

    def refuse(_library, _options):
        raise ValueError("Failed to load delegate from libedgetpu.so.1\n")

    facts = delegate.Facts(has_node=True, may_use=True, owner_pid=812, owner_name="demo")
    monkeypatch.setattr(delegate, "gather", lambda: facts)
    with pytest.raises(ModelError) as raised:
        fake(path=compiled, edgetpu=":0", load_delegate=refuse)
    assert code_of(raised) == "edgetpu_owned"


def test_missing_interpreter_is_told_by_a_code(monkeypatch, tiny_files):
    """Without any TFLite package the reason is `runtime_missing`."""
    monkeypatch.setattr(interpreter, "_RUNTIMES", (("no_such_package", "no_such_package.interpreter"),))
    with pytest.raises(ModelError) as raised:
        Interpreter(tiny_files.model)
    assert code_of(raised) == "runtime_missing"


def test_specs_are_contract_types(tiny):
    """What the model takes can be compared with a release manifest."""
    assert all(isinstance(spec, TensorSpec) for spec in tiny.inputs + tiny.outputs)


def test_every_input_gets_its_own_tensor(fake):
    """In the model's order."""
    model = fake(extra_inputs=[((1, 2), np.int32, (0.0, 0))])
    picture, numbers = np.zeros((1, 2, 2, 1), np.uint8), np.array([[1, 2]], np.int32)
    model.run([picture, numbers])
    assert model._interpreter.tensors[0] is picture and model._interpreter.tensors[2] is numbers
    with pytest.raises(RequestError, match="int32"):
        model.run([picture])


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (("tflite_runtime", "ai_edge_litert", "tensorflow"), "tflite_runtime"),
        (("ai_edge_litert", "tensorflow"), "ai_edge_litert"),
        (("tensorflow",), "tensorflow"),
    ],
)
def test_the_lightest_runtime_is_taken(monkeypatch, installed, expected):
    """The board's package comes first, TensorFlow only where there is nothing else; what is first is all."""
    asked = []

    def load(name):
        asked.append(name)
        package = name.split(".")[0]
        if package not in installed:
            raise ImportError(name)
        drawer = SimpleNamespace(load_delegate=package)
        return SimpleNamespace(
            __version__="1", Interpreter=package, load_delegate=package, experimental=drawer
        )

    monkeypatch.setattr(interpreter.importlib, "import_module", load)
    assert interpreter.find_runtime() == f"{expected} 1"
    order = ["tflite_runtime", "ai_edge_litert", "tensorflow"]
    assert {name.split(".")[0] for name in asked} == set(order[: order.index(expected) + 1])
