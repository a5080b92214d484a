"""Promises of contract.messages and contract.artifacts: recorded payloads stay readable for ever."""

import json
from pathlib import Path

import pytest

from contract import artifacts, envelope, learning, manifest, messages, rollout, telemetry, training, trust
from contract.codec import decode, encode
from contract.errors import ManifestError, MessageError
from contract.records import build_schema

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = {
    "prediction": messages.Prediction,
    "prediction_objects": messages.Prediction,
    "prediction_window": messages.Prediction,
    "prediction_file": messages.Prediction,
    "telemetry": telemetry.Telemetry,
    "error_report": telemetry.ErrorReport,
    "feedback": learning.Feedback,
    "sample": learning.Sample,
    "infer_request_model": messages.InferRequest,
    "infer_answer": messages.InferAnswer,
    "infer_error": messages.InferError,
    "infer_request": messages.InferRequest,
    "device_info_models": messages.DeviceInfo,
    "device_info": messages.DeviceInfo,
    "device_info_tags": messages.DeviceInfo,
    "device_info_stopped": messages.DeviceInfo,
    "config_report": messages.ConfigReport,
    "model_report": messages.ModelReport,
    "model_report_counted": messages.ModelReport,
    "chunk_need": messages.ChunkNeed,
    "release_manifest": manifest.ReleaseManifest,
    "root": trust.Root,
    "timestamp": trust.Timestamp,
    "rollout_progress": rollout.RolloutProgress,
    "command": trust.Command,
    "command_answer": messages.CommandAnswer,
    "data_info": training.DataInfo,
    "data_part": training.DataPart,
    "data_position": training.DataPosition,
    "training_report": training.TrainingReport,
    "envelope": envelope.Envelope,
    "preprocessing": artifacts.Preprocessing,
    "run_record": artifacts.RunRecord,
    "run_record_lineage": artifacts.RunRecord,
    "bundle_manifest": artifacts.BundleManifest,
    "bundle_manifest_recipe": artifacts.BundleManifest,
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_recorded_payload_is_read_and_written_the_same(name: str) -> None:
    """Version 1 on the wire does not change; golden files are added, never edited."""
    payload = (GOLDEN / f"{name}.v1.json").read_bytes()
    assert encode(decode(KINDS[name], payload)) == payload


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_schema_accepts_the_recorded_payload(name: str) -> None:
    """The JSON Schema of a kind is generated from its code and says the same."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema needs a newer Python than the board's")
    schema = build_schema(KINDS[name], document=True)
    payload = json.loads((GOLDEN / f"{name}.v1.json").read_bytes())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(payload, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**payload, "v": 2}, schema)


def test_every_golden_file_has_its_kind() -> None:
    """No recorded payload is left untested."""
    assert {path.name.split(".")[0] for path in GOLDEN.iterdir()} == set(KINDS)


def test_a_need_names_its_chunks() -> None:
    """The bitmap of missing chunks is read back."""
    numbers = (0, 7, 8, 511)
    assert messages.ChunkNeed("ab" * 16, False, messages.ChunkNeed.pack(numbers)).numbers() == numbers
    assert messages.ChunkNeed.pack(()) == b""
    with pytest.raises(MessageError, match="missing"):
        messages.ChunkNeed("ab" * 16, False, messages.ChunkNeed.pack((512,)))


def test_a_request_has_one_picture() -> None:
    """Neither none nor two."""
    for pictures in ({}, {"image_b64": b"x", "array": (1,)}):
        with pytest.raises(MessageError, match="either"):
            messages.InferRequest(transaction="", **pictures)


def test_the_parts_of_a_stream_follow_from_its_samples() -> None:
    """A publisher that contradicts itself is refused; the last part of a pass may be short."""
    payload = json.loads((GOLDEN / "data_info.v1.json").read_bytes())
    info = decode(training.DataInfo, json.dumps(payload).encode())
    counts = [info.samples_of(number) for number in range(training.FIRST_PART, info.parts + 1)]
    assert counts == [4, 1, 4, 4, 2, 4, 4, 2]
    for changed in ({"parts": 9}, {"test_parts": 1}, {"samples": 9000}):
        with pytest.raises(MessageError, match="do not follow"):
            decode(training.DataInfo, json.dumps({**payload, **changed}).encode())


def test_a_full_part_fits_into_a_payload() -> None:
    """The largest pictures and the most labels that DataPart allows stay below the limit of all."""
    labels = (artifacts.MAX_CLASSES - 1,) * training.MAX_PART_SAMPLES
    part = training.DataPart("ab" * 32, 2**53 - 1, labels, bytes(training.MAX_PART_BYTES))
    assert decode(training.DataPart, encode(part)) == part


def test_a_bundle_has_a_fallback_exactly_when_it_is_compiled() -> None:
    """A compiled model alone would leave a board without an Edge TPU dumb."""
    payload = json.loads((GOLDEN / "bundle_manifest.v1.json").read_bytes())
    payload["compiled"] = True
    with pytest.raises(ManifestError, match="fallback"):
        decode(artifacts.BundleManifest, json.dumps(payload).encode())
