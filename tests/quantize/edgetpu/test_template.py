"""Re-weighting a compiled model: what is learned, what is written, what is refused."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet, WrongUsage
from quantize.edgetpu.package import read_compiled
from quantize.edgetpu.template import learn, rewrite
from quantize.tflite_file import parse_tflite
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu.test_package import signed
from tests.quantize.edgetpu.weights import LayerDecoder, with_other_weights, write, write_scales

# One per-channel int8 network with depthwise layers, one per-tensor uint8 one, one with layers on the CPU.
PER_CHANNEL, PER_TENSOR, WITH_HOST = "MobileNetV2_aug", "mobilenet_v1_0.25_128_quant.84d9", "deeplabv3_mnv2"
DENSE, LOOMING, EQUAL_SCALES = "dense_256", "looming_64x64", "gabor_64x64"


def files(name: str) -> tuple[bytes, bytes]:
    pair = next(pair for pair in pairs() if name in pair["compiled_file"])
    return (PAIRS / pair["original_file"]).read_bytes(), (PAIRS / pair["compiled_file"]).read_bytes()


def learned(name: str):
    original, compiled = files(name)
    return original, compiled, learn(original, compiled, name)


def without_token(content: bytes) -> bytes:
    plain = bytearray(content)
    for executable in read_compiled(content, "file").executables:
        plain[executable.token_start : executable.token_start + 8] = bytes(8)
    return bytes(plain)


def test_gives_every_recorded_file_back_from_its_own_original():
    """All parameters of all recorded files are regenerated without one wrong byte."""
    layers = 0
    for pair in pairs():
        original, compiled, template = learned(pair["compiled_file"])
        again = rewrite(template, original, "original")
        assert without_token(again.content) == without_token(compiled), pair["compiled_file"]
        assert again.changed_bytes == 0
        assert len(template.places) == pair["param_regeneration"]["weight_layers_on_tpu"]
        layers += len(template.places)
    assert layers >= 400


@pytest.mark.parametrize("name", [PER_CHANNEL, PER_TENSOR, DENSE, LOOMING])
def test_other_weights_are_read_back_out_of_the_new_file(name):
    """Each weight, bias and multiplier of the new model stands where the layout says."""
    original, _, template = learned(name)
    new = with_other_weights(original)
    content = rewrite(template, new, "new").content
    model, chance = parse_tflite(new, "new"), np.random.default_rng(3)
    for place in template.places:
        operator = model.operators[place.operator]
        decoder = LayerDecoder(content, place.span.start, operator)
        source, weights, bias = (*operator.inputs, None)[:3]
        values = weights.data.view(weights.dtype.lower()).reshape(weights.shape)
        depth = 1 if decoder.depthwise else weights.shape[-1]
        for channel in (0, decoder.channels - 1, *chance.integers(0, decoder.channels, 6)):
            at = (int(chance.integers(decoder.rows)), int(chance.integers(decoder.columns)))
            entry = int(chance.integers(depth))
            spot = (0, *at, channel) if decoder.depthwise else (channel, *at, entry)
            expected = values[spot] if values.ndim == 4 else values[channel, entry]
            assert decoder.weight(channel, *at, entry) == expected
            if decoder.has_bias:
                assert decoder.bias(channel) == bias.data.view("<i4")[channel]
            if decoder.has_scales:
                exact = source.scales[0] * weights.scales[channel] / operator.outputs[0].scales[0]
                assert decoder.multiplier(channel) == pytest.approx(exact, rel=1e-6)


def test_changes_nothing_but_parameters_and_token():
    """Instructions and everything else of the template stay as the compiler wrote them."""
    original, compiled, template = learned(PER_CHANNEL)
    again = rewrite(template, with_other_weights(original), "new")
    old, new = (bytearray(content) for content in (compiled, again.content))
    for executable in read_compiled(compiled, "template").executables:
        spans = ((executable.parameters.start, executable.parameters.size), (executable.token_start, 8))
        for start, size in spans:
            old[start : start + size] = new[start : start + size] = bytes(size)
    assert old == new
    assert again.parameter_bytes == 2_745_920
    assert 0.5 < again.changed_bytes / again.parameter_bytes < 1


def test_every_set_of_weights_has_its_own_token():
    """Models with the same token would share the chip's memory: the token follows the content."""
    original, _, template = learned(DENSE)
    models = (original, with_other_weights(original, 1), with_other_weights(original, 2))
    again = [rewrite(template, model, "new") for model in (*models, models[1])]
    tokens = [found.token for found in again]
    assert len({*tokens[:3], template.compiled.executables[0].token}) == 4
    assert tokens[1] == tokens[3] and all(0 < token < 2**64 for token in tokens)
    for found in again:
        assert {entry.token for entry in read_compiled(found.content, "new").executables} == {found.token}


def test_the_token_is_also_that_of_the_instructions():
    """The same weights in three templates are three programs: they do not share a token either."""
    tokens = set()
    for name in ("0.25_128_quant.84d9", "0.25_128_quant.c420", "0.25_128_quant.2ae6"):
        original, _, template = learned(name)
        tokens.add(rewrite(template, original, "same").token)
    assert len(tokens) == 3


def test_a_rewritten_file_can_be_a_template_again():
    """What was written is read and rewritten like the compiler's own file."""
    original, _, template = learned(PER_TENSOR)
    new = with_other_weights(original)
    written = rewrite(template, new, "new").content
    back = rewrite(learn(new, written, "written"), original, "original")
    assert back.content == rewrite(template, original, "original").content


def test_gives_two_packages_two_tokens():
    """Where the template has several tokens, the new file has as many: made, recorded files have one."""
    original, compiled = files(DENSE)
    content = bytearray(compiled)
    start = read_compiled(compiled, "file").executables[1].token_start
    content[start] ^= 0xFF
    again = rewrite(learn(original, bytes(content), "two"), original, "same").content
    tokens = {executable.token for executable in read_compiled(again, "again").executables}
    assert len(tokens) == 2 and 0 not in tokens


@pytest.mark.parametrize("name", [PER_CHANNEL, WITH_HOST])
def test_the_interpreter_loads_it_up_to_the_custom_operator(name):
    """The new file is a sound .tflite file: only the delegate is missing."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert to load it")
    original, _, template = learned(name)
    content = rewrite(template, with_other_weights(original), "new").content
    reader = interpreter.Interpreter(model_content=content)
    with pytest.raises(RuntimeError, match=r"unresolved custom op: edgetpu-custom-op"):
        reader.allocate_tensors()


def change(original: bytes, operator: int, position: int, values=None, scales=None) -> bytes:
    content = bytearray(original)
    tensor = parse_tflite(original, "original").operators[operator].inputs[position]
    if values is not None:
        write(content, tensor, np.resize(np.asarray(values, np.uint8), tensor.data.size))
    if scales is not None:
        write_scales(content, tensor, np.resize(scales, len(tensor.scales)))
    return bytes(content)


def refusal(template, new: bytes) -> str:
    with pytest.raises(GateNotMet) as error:
        rewrite(template, new, "new.tflite")
    assert error.value.where == "new.tflite" and "compile" in error.value.hint
    return error.value.what


def test_refuses_a_bias_that_has_become_zero():
    """A bias of zeros is left out by the compiler: then the place of all else would move."""
    original, _, template = learned(PER_CHANNEL)
    first = template.places[0].operator
    zero = change(original, first, 2, values=[0])
    assert "bias" in refusal(template, zero)


def test_refuses_scales_that_belong_to_the_instructions():
    """The scale of a layer with one scale, and of one whose channels all have the same, cannot move."""
    original, _, template = learned(DENSE)
    assert "scale" in refusal(template, change(original, 1, 1, scales=[0.5]))
    original, _, template = learned(EQUAL_SCALES)
    assert "scale" in refusal(template, change(original, 1, 1, scales=[0.25]))
    assert "scale" in refusal(template, change(original, 1, 1, scales=[0.25, 0.5]))


def test_refuses_channels_that_have_come_to_the_same_scale():
    """Where the template has multipliers, a model without them has no place for its scale."""
    original, _, template = learned(PER_CHANNEL)
    model = parse_tflite(original, "original")
    operator = next(op for op in model.operators if op.name == "DEPTHWISE_CONV_2D")
    same = change(original, operator.index, 1, scales=[0.5])
    bias = np.float32(operator.inputs[0].scales[0]) * np.float32(0.5)
    assert "same scale" in refusal(template, change(same, operator.index, 2, scales=[bias]))


def test_refuses_another_activation_scale():
    """The numbers of activations lie in the instructions."""
    original, _, template = learned(PER_CHANNEL)
    operator = parse_tflite(original, "original").operators[5]
    content = bytearray(original)
    write_scales(content, operator.outputs[0], np.array([0.5]))
    assert "scale" in refusal(template, bytes(content))


def test_refuses_another_architecture():
    """A model of another shape has other instructions."""
    template = learned(DENSE)[2]
    assert refusal(template, files("dense_512")[0])
    assert refusal(template, files(PER_TENSOR)[0])


def twins() -> tuple[bytes, bytes]:
    """A pair whose two convolutions have the same weights: made, since no recorded file is like that."""
    original, _, template = learned(LOOMING)
    kernel = parse_tflite(original, "original").operators[1].inputs[1].data
    same = change(original, 3, 1, values=kernel)
    return same, rewrite(template, same, "twins").content


def test_tells_layers_with_the_same_bytes_apart_by_their_order_only():
    """Both places are found, without overlap, the first layer's first."""
    same, compiled = twins()
    places = learn(same, compiled, "twins").places
    assert [(place.operator, place.twins) for place in places] == [(1, 2), (3, 2)]
    assert places[0].span.end <= places[1].span.start


def test_writes_twins_only_if_they_stay_twins():
    """Which place is whose is presumed, so different weights for them are refused and equal ones are not."""
    same, compiled = twins()
    template = learn(same, compiled, "twins")
    assert "cannot be told" in refusal(template, change(same, 3, 1, values=range(9)))
    both = change(change(same, 1, 1, values=range(9)), 3, 1, values=range(9))
    assert rewrite(template, both, "both").changed_bytes > 0


def test_refuses_to_learn_from_another_original():
    """A compiled file with other weights than the original's explains nothing."""
    original, compiled = files(DENSE)
    with pytest.raises(GateNotMet, match="not in the compiled file"):
        learn(with_other_weights(original), compiled, "pair")
    with pytest.raises(GateNotMet, match="not in the original"):
        learn(original, files(WITH_HOST)[1], "pair")


def test_refuses_to_learn_from_one_damaged_byte():
    """A parameter that is not as the layout has it is a reason to compile anew."""
    original, compiled, template = learned(PER_TENSOR)
    damaged = bytearray(compiled)
    damaged[template.places[9].span.end - 1] ^= 1
    with pytest.raises(GateNotMet, match=f"operator {template.places[9].operator} "):
        learn(original, bytes(damaged), "pair")


def test_refuses_to_learn_from_a_file_with_parameters_or_token_twice():
    """If anything else of the file might depend on them, it is no template."""
    original, compiled, template = learned(DENSE)
    token = template.compiled.executables[0].token.to_bytes(8, "little")
    with pytest.raises(GateNotMet, match="token"):
        learn(original, compiled + token, "pair")
    blob = next(entry.parameters for entry in template.compiled.executables if entry.parameters.size)
    with pytest.raises(GateNotMet, match="twice"):
        learn(original, compiled + compiled[blob.start : blob.end], "pair")


def test_refuses_to_learn_from_a_signed_file():
    """Whoever changed it would break the signature."""
    original, compiled = files(DENSE)
    with pytest.raises(GateNotMet, match="signed"):
        learn(original, signed(compiled), "pair")


def test_refuses_what_is_not_compiled():
    """Original and compiled file in the wrong order are wrong usage."""
    original, compiled = files(DENSE)
    with pytest.raises(WrongUsage, match="not been compiled"):
        learn(compiled, original, "pair")
