"""Promises of commands.classify."""

from pathlib import Path

import pytest
from PIL import Image

from edge_agent.cli import main
from edge_agent.commands.classify import Outcome, Task, classify, format_outcome
from edge_agent.commands.one_picture import read_labels
from edge_agent.errors import AgentError, RequestError

RISE = 3


@pytest.fixture
def picture(tmp_path: Path, golden) -> Path:
    """A golden sample of class 3 as a PNG."""
    inputs, _ = golden
    path = tmp_path / "picture.png"
    Image.fromarray(inputs[RISE][:, :, 0]).save(str(path))
    return path


@pytest.fixture
def task(tiny_files, picture: Path) -> Task:
    return Task(str(tiny_files.model), picture, tiny_files.labels, input_mean=0, input_std=255)


def refusal(task: Task) -> AgentError:
    with pytest.raises(AgentError) as caught:
        classify(task)
    return caught.value


def changed(task: Task, **changes: object) -> Task:
    return Task(**{**vars(task), **changes})  # type: ignore[arg-type]


def test_a_picture_is_named(task: Task, tiny_labels) -> None:
    """The best label first, as many times as runs were asked for."""
    outcome = classify(changed(task, top_k=2, count=3))
    assert outcome.results[0].label == tiny_labels[RISE]
    assert (len(outcome.results), len(outcome.times_ms), outcome.warning) == (2, 3, "")


def test_the_threshold_leaves_out_what_is_unlikely(task: Task) -> None:
    """A result has at least that score."""
    assert len(classify(changed(task, top_k=10, threshold=0.5)).results) == 1


def test_without_labels_there_are_numbers(task: Task) -> None:
    """As with Coral's program."""
    assert classify(changed(task, labels=None)).results[0].label == str(RISE)


def test_a_normalization_that_does_not_fit_the_model_is_told(task: Task) -> None:
    """Coral's defaults cut half of the picture off on a model of 0 to 1; the right flags are named."""
    warning = classify(changed(task, input_mean=128.0, input_std=128.0)).warning
    assert "try --input_mean 0 --input_std 255" in warning


def test_mean_and_deviation_are_applied(task: Task, tmp_path: Path) -> None:
    """With a mean of 255 every pixel is 0 or less for this model: the picture is as good as black."""
    black = tmp_path / "black.png"
    Image.new("L", (28, 28)).save(str(black))
    drowned = classify(changed(task, input_mean=255.0)).results
    assert drowned == classify(changed(task, picture=black)).results != classify(task).results


def test_the_output_is_that_of_corals_program(task: Task) -> None:
    """Scripts that read one can read the other."""
    result = classify(task).results[0]
    lines = format_outcome(Outcome((13.14, 2.7), (result,))).splitlines()
    assert lines[0] == "----INFERENCE TIME----"
    assert lines[1].startswith("Note: The first inference on Edge TPU is slow because it includes loading")
    assert lines[2:] == ["13.1ms", "2.7ms", "-------RESULTS--------", f"{result.label}: {result.score:.5f}"]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat\ndog\n", {0: "cat", 1: "dog"}),
        ("7 ankle boot\n9:sneaker\n", {7: "ankle boot", 9: "sneaker"}),
        ("", {}),
    ],
)
def test_label_files_come_in_three_forms(tmp_path: Path, text: str, labels: "dict[int, str]") -> None:
    """Numbered with a blank or a colon, or by their row."""
    (tmp_path / "labels.txt").write_text(text)
    assert read_labels(tmp_path / "labels.txt") == labels


def test_files_that_are_no_good_are_the_callers_mistake(task: Task, tmp_path: Path) -> None:
    """Absent, a folder, another format, truncated: a RequestError with a code, never a traceback."""
    junk = tmp_path / "junk"
    junk.write_bytes(b"not a model \xff\n\n")
    half = tmp_path / "half.png"
    half.write_bytes(task.picture.read_bytes()[:60])
    for changes, code in [
        ({"picture": tmp_path / "absent"}, "bad_input"),
        ({"picture": tmp_path}, "bad_input"),
        ({"picture": junk}, "bad_image"),
        ({"picture": half}, "bad_image"),
        ({"labels": tmp_path / "absent"}, "bad_input"),
        ({"model": str(tmp_path / "absent")}, "model_unreadable"),
        ({"model": str(junk)}, "model_unreadable"),
    ]:
        error = refusal(changed(task, **changes))
        assert isinstance(error, RequestError) and error.code == code, changes


def test_a_model_that_crashes_the_runtime_is_said(task: Task, tmp_path: Path) -> None:
    """Half a file ends TFLite 2.11 with SIGSEGV; newer ones complain of it."""
    broken = tmp_path / "half.tflite"
    model = Path(task.model).read_bytes()
    broken.write_bytes(model[: len(model) // 2])
    error = refusal(changed(task, model=str(broken)))
    assert isinstance(error, RequestError) and error.code == "model_unreadable"


def test_a_picture_without_end_is_refused(task: Task) -> None:
    """Reading stops at a limit."""
    assert refusal(changed(task, picture=Path("/dev/zero"))).code == "bad_input"


def test_the_command_takes_corals_flags(task: Task, capsys) -> None:
    """Short and long ones; results on stdout, exit code 0."""
    short = ["-k", "2", "-t", "0.001", "-c", "1", "-a", "0", "-s", "255"]
    command = ["classify", "-m", task.model, "-i", str(task.picture), "-l", str(task.labels), *short]
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.out.count("ms\n") == 1 and said.out.splitlines()[-1].startswith("rise: 0.99")
    assert "error" not in said.err


def test_the_command_explains_in_three_lines(task: Task, capsys) -> None:
    """What, where, what to try; exit code 2."""
    assert main(["classify", "-m", task.model, "-i", "/dev/null"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line[:7] for line in said.err.splitlines()] == ["error: ", "   at: ", "  try: "]


@pytest.mark.parametrize("flag", [["-s", "0"], ["-s", "nan"], ["-c", "0"], ["-k", "-1"], ["-t", "x"]])
def test_numbers_that_make_no_sense_are_refused(task: Task, flag: "list[str]", capsys) -> None:
    """Before anything is loaded."""
    with pytest.raises(SystemExit) as caught:
        main(["classify", "-m", task.model, "-i", str(task.picture), *flag])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line[:7] for line in lines] == ["error: ", "   at: ", "  try: "]
