"""Compile once, re-weight for ever: learns where a compiled file keeps weights and writes others there.

Experimental: no re-weighted file has run on an Edge TPU yet. What stands behind it is that the compiler puts
weights, biases and per-channel multipliers into the parameters and everything else into the instructions.
"""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from host_cli.errors import GateNotMet
from quantize.edgetpu.borders import operators_within, require_same_borders
from quantize.edgetpu.frozen import require_frozen
from quantize.edgetpu.hosts import (
    HostConstant,
    find_host_constants,
    match_hosts,
    require_no_weights_as_inputs,
    write_hosts,
)
from quantize.edgetpu.layout import (
    has_bias,
    has_multipliers,
    has_weights,
    is_ambiguous,
    layer_bytes,
    scales_of,
)
from quantize.edgetpu.leftovers import Leftover, explain_leftovers
from quantize.edgetpu.locate import NEEDS_COMPILE, Located, Place, find_layers, locate_layers
from quantize.edgetpu.package import CompiledModel, read_compiled
from quantize.edgetpu.pairing import place_of
from quantize.tflite_file import parse_tflite
from quantize.tflite_model import Operator, TfliteModel

_TOKEN_BYTES = 8


@dataclass(frozen=True)
class Template:
    """A compiled model that can be re-weighted, and where everything in it lies.

    `leftovers` are the parameter bytes that belong to no layer with weights: alignment and constants.
    """

    model: TfliteModel
    compiled: CompiledModel
    places: tuple[Place, ...]
    leftovers: tuple[Leftover, ...]
    host_constants: tuple[HostConstant, ...]

    @property
    def parameter_bytes(self) -> int:
        """Return the size of all executables' parameters."""
        return sum(entry.parameters.size for entry in self.compiled.executables)


@dataclass(frozen=True)
class Rewritten:
    """A compiled file with other weights: its parameter bytes, and how many of them are new."""

    content: bytes
    parameter_bytes: int
    changed_bytes: int
    token: int


def learn(original: bytes, compiled: bytes, where: str) -> Template:
    """Learn where a compiled file keeps the weights of its original.

    Args:
        original: the int8 .tflite file that was compiled.
        compiled: what edgetpu_compiler made of it.
        where: the compiled file's name, for errors.

    Raises:
        WrongUsage: one of them is damaged or not of its kind.
        GateNotMet: a layer or any other byte of the parameters is not explained: it needs a real compile.
    """
    model, target = parse_tflite(original, where), read_compiled(compiled, where)
    hosts = match_hosts(model, target, where)
    require_same_borders(model, target, where)
    require_no_weights_as_inputs(model, target, where)
    mapped = [operator for operator in model.operators if operator.index not in hosts]
    places = locate_layers(mapped, target, where)
    _require_plain(target, places, where)
    return Template(
        model=model,
        compiled=target,
        places=places,
        leftovers=explain_leftovers(mapped, places, target, where),
        host_constants=tuple(find_host_constants(model, hosts, where)),
    )


def survey(original: bytes, compiled: bytes, where: str) -> Located:
    """Tell which layers of a compiled file come out byte for byte, be it a template or not.

    A segment of a pipeline is asked for its own layers only.

    Args:
        original: the int8 .tflite file that was compiled.
        compiled: what edgetpu_compiler made of it.
        where: the compiled file's name, for errors.

    Raises:
        WrongUsage: one of them is damaged or not of its kind.
        GateNotMet: the file was not made from the original, or has too much in it to look through.
    """
    model, target = parse_tflite(original, where), read_compiled(compiled, where)
    hosts = match_hosts(model, target, where)
    within = operators_within(model, target)
    return find_layers([operator for operator in within if operator.index not in hosts], target, where)


def rewrite(template: Template, model: bytes, where: str) -> Rewritten:
    """Write the compiled file of a model that differs from the template's only in weights.

    Only parameters, CPU weights and the caching token change; the token is drawn from the new content, so
    that two models never share one.

    Args:
        template: what `learn` returned.
        model: the int8 .tflite file with the new weights.
        where: its name, for errors.

    Raises:
        WrongUsage: it is no .tflite file.
        GateNotMet: something has to change that the instructions hold: it needs a real compile.
    """
    new = parse_tflite(model, where)
    require_frozen(template.model, new, where)
    content = bytearray(template.compiled.content)
    for place, layer in _new_layers(template, new, where):
        content[place.span.start : place.span.end] = layer
    write_hosts(content, template.host_constants, new, where)
    token = _write_tokens(content, template.compiled)
    return Rewritten(
        content=bytes(content),
        parameter_bytes=template.parameter_bytes,
        changed_bytes=_count_changes(template.compiled, content),
        token=token,
    )


def _require_plain(compiled: CompiledModel, places: Sequence[Place], where: str) -> None:
    """Refuse files whose executables are signed, or that hold layers or token elsewhere too."""
    if any(package.is_signed for package in compiled.packages):
        raise GateNotMet("its executables are signed", where, NEEDS_COMPILE)
    for token in {executable.token for executable in compiled.executables} - {0}:
        expected = sum(entry.token == token for entry in compiled.executables)
        if compiled.content.count(_token_bytes(token)) != expected:
            raise GateNotMet("its caching token lies where none is expected", where, NEEDS_COMPILE)
    for number in {place.executable for place in places}:
        blob = compiled.executables[number].parameters
        if compiled.content.count(compiled.content[blob.start : blob.end]) != 1:
            raise GateNotMet("its parameters lie in it twice", where, NEEDS_COMPILE)


def _new_layers(template: Template, new: TfliteModel, where: str) -> Iterator[tuple[Place, bytes]]:
    """Lay the new layers out, each as long as the template's."""
    twins: dict[bytes, list[tuple[Place, bytes]]] = defaultdict(list)
    for place in template.places:
        old, layer = template.model.operators[place.operator], new.operators[place.operator]
        _require_same_parts(old, layer, where)
        if is_ambiguous(old, layer, place.variant):
            what = f"{place_of(layer)}: the template's weights do not show in which order they lie"
            raise GateNotMet(what, where, NEEDS_COMPILE)
        content = layer_bytes(layer, place.variant).tobytes()
        if place.twins:
            span = place.span
            twins[template.compiled.content[span.start : span.end]].append((place, content))
        yield place, content
    for was, layers in twins.items():
        is_exact = len(layers) == layers[0][0].twins and len({content for _, content in layers}) == 1
        if not is_exact and any(content != was for _, content in layers):
            first = place_of(new.operators[layers[0][0].operator])
            raise GateNotMet(f"{first}: its place cannot be told from another's", where, NEEDS_COMPILE)


def _require_same_parts(old: Operator, new: Operator, where: str) -> None:
    """Refuse a layer whose header would have other parts than the template's."""
    if not has_weights(new):
        what = f"{place_of(new)}: its weights, scales or bias do not fit its shape"
    elif has_bias(new) != has_bias(old):
        what = f"{place_of(new)}: one of both models has a bias of zeros here, which is left out"
    elif has_multipliers(new) != has_multipliers(old):
        what = f"{place_of(new)}: in one of both models all channels have the same scale"
    elif not has_multipliers(old) and scales_of(new) != scales_of(old):
        what = f"{place_of(new)}: its weight scale has moved, which the instructions hold"
    else:
        return
    raise GateNotMet(what, where, NEEDS_COMPILE)


def _write_tokens(content: bytearray, compiled: CompiledModel) -> int:
    """Draw a new caching token for each of the template's from the file's content; return the first."""
    places: dict[int, list[int]] = defaultdict(list)
    for executable in compiled.executables:
        if executable.token:
            places[executable.token].append(executable.token_start)
    for start in itertools.chain(*places.values()):
        content[start : start + _TOKEN_BYTES] = bytes(_TOKEN_BYTES)
    tokens = [_draw_token(content, number) for number in range(len(places))]
    for token, starts in zip(tokens, places.values(), strict=True):
        for start in starts:
            content[start : start + _TOKEN_BYTES] = _token_bytes(token)
    return tokens[0] if tokens else 0


def _draw_token(content: bytearray, number: int) -> int:
    """Return a number that follows from a file's content; never 0, which means that there is no token."""
    digest = hashlib.blake2b(
        content, digest_size=_TOKEN_BYTES, salt=number.to_bytes(_TOKEN_BYTES, "little")
    ).digest()
    return int.from_bytes(digest, "little") or 1


def _count_changes(compiled: CompiledModel, content: bytearray) -> int:
    """Count the parameter bytes that are not the template's."""
    changed = 0
    for span in (entry.parameters for entry in compiled.executables):
        old = np.frombuffer(compiled.content, np.uint8, span.size, span.start)
        changed += int(np.count_nonzero(old != np.frombuffer(content, np.uint8, span.size, span.start)))
    return changed


def _token_bytes(token: int) -> bytes:
    return token.to_bytes(_TOKEN_BYTES, "little")
