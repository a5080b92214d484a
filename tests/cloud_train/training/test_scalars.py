"""TensorBoard's file: what is written is read back."""

from cloud_train.training.scalars import Scalars


def test_figures_are_there_every_hundred_steps_and_for_each_pass(tmp_path):
    """With the steps they belong to."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Scalars(tmp_path) as scalars:
        for step in range(20, 260, 20):
            scalars.steps(step, {"loss": 1 / step})
        scalars.passed(1, {"loss": 0.5, "validation_accuracy": 0.75})
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    assert set(events.Tags()["tensors"]) == {"steps/loss", "passes/loss", "passes/validation_accuracy"}
    assert [event.step for event in events.Tensors("steps/loss")] == [100, 200]
    (event,) = events.Tensors("passes/validation_accuracy")
    assert (event.step, list(event.tensor_proto.float_val or [0.75])) == (1, [0.75])
