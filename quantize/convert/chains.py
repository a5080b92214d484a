"""Finds layers of a Keras model that follow each other with nothing between them that minds a scale."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from quantize.convert.constructs import name_kind

# f(s * x) = s * f(x) for every s > 0; relu6 is not among them.
_HOMOGENEOUS = ("linear", "relu", "leakyrelu")
_INDIFFERENT = (
    "activation", "averagepooling2d", "dropout", "flatten", "globalaveragepooling2d",
    "globalmaxpooling2d", "leakyrelu", "maxpooling2d", "prelu", "spatialdropout2d", "zeropadding2d",
)  # fmt: skip
_WEIGHTED = ("conv2d", "dense", "depthwiseconv2d")


@dataclass(frozen=True)
class Chain:
    """A weighted layer, the BatchNormalization right after it if any, and the weighted layer after that."""

    first: Any
    norm: Any
    second: Any


def find_chains(model: Any) -> Iterator[Chain]:
    """Yield the chains of a model and of the models in it, in their order.

    A layer that is used twice, or read by more than one, ends a chain.
    """
    layers = {layer.name: layer for layer in model.layers}
    readers = _find_readers(model)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from find_chains(layer)
        elif name_kind(layer) in _WEIGHTED:
            chain = _find_chain(layer, layers, readers)
            if chain is not None:
                yield chain


def _find_chain(first: Any, layers: Mapping[str, Any], readers: Mapping[str, str]) -> Chain | None:
    def after(layer: Any) -> Any:
        return layers.get(readers.get(layer.name, ""))

    norm, layer = None, after(first)
    if name_kind(layer) == "batchnormalization" and layer.scale and name_kind(first.activation) == "linear":
        norm, layer = layer, after(layer)
    elif not _passes(first):
        return None
    while layer is not None and name_kind(layer) not in _WEIGHTED:
        layer = after(layer) if _passes(layer) else None
    return Chain(first, norm, layer) if layer is not None and getattr(layer, "groups", 1) == 1 else None


def _passes(layer: Any) -> bool:
    """Say whether scaling what goes into a layer, or its weights, scales what comes out."""
    if name_kind(layer) == "relu":
        return layer.max_value is None and not layer.threshold
    activation = getattr(layer, "activation", None)
    known = name_kind(layer) in (*_INDIFFERENT, *_WEIGHTED)
    return known and (activation is None or name_kind(activation) in _HOMOGENEOUS)


def _find_readers(model: Any) -> Mapping[str, str]:
    """Return the only reader of each layer that has just one, by name; none for layers used twice."""
    if name_kind(model) == "sequential":
        names = [layer.name for layer in model.layers]
        return dict(pairwise(names))
    config = model.get_config()
    readers: dict[str, list[str]] = {}
    for entry in config["layers"]:
        for source in _sources(entry["inbound_nodes"]):
            readers.setdefault(source, []).append(entry["name"])
    for name in _strings(config["output_layers"]):
        readers.setdefault(name, []).append("")
    once = {entry["name"] for entry in config["layers"] if len(entry["inbound_nodes"]) == 1}
    return {name: found[0] for name, found in readers.items() if len(found) == 1 and {name, *found} <= once}


def _sources(nodes: Any) -> Iterator[str]:
    """Yield the layers that the tensors in a layer's config come from."""
    if isinstance(nodes, Mapping):
        if "keras_history" in nodes:
            yield str(nodes["keras_history"][0])
        nodes = list(nodes.values())
    if isinstance(nodes, list | tuple):
        for node in nodes:
            yield from _sources(node)


def _strings(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, list | tuple):
        for inner in entry:
            yield from _strings(inner)
