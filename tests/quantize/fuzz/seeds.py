"""Builds small .tflite files in code, original and compiled: what the fuzzer starts from."""

import flatbuffers
import tflite
from flatbuffers import flexbuffers

from tests.quantize.fuzz.tables import finish, table, vector

BUILTIN = tflite.BuiltinOperator
INT8, INT32 = tflite.TensorType.INT8, tflite.TensorType.INT32
EDGETPU_OP = "edgetpu-custom-op"
EXECUTION_ONLY = 2


def original(convolution_version: int = 3) -> bytes:
    """A convolution, a reshape and a dense layer with constants, scales and options."""
    builder = flatbuffers.Builder(4096)
    tensors = [
        add_tensor(builder, "model/in", (1, 4, 4, 2)),
        add_tensor(builder, "model/conv/Conv2D", (4, 1, 1, 2), 1, scales=(0.1, 0.2, 0.3, 0.4)),
        add_tensor(builder, "model/conv/bias", (4,), 2, INT32),
        add_tensor(builder, "model/conv/Relu;model/conv/Conv2D", (1, 4, 4, 4)),
        add_tensor(builder, "model/flatten/Const", (2,), 3, INT32),
        add_tensor(builder, "model/flatten/Reshape", (1, 64)),
        add_tensor(builder, "model/dense/MatMul", (3, 64), 4),
        add_tensor(builder, "model/dense/BiasAdd", (1, 3)),
    ]
    convolution = table(builder, {3: ("int8", 1), 4: ("int32", 1), 5: ("int32", 1)})
    dense = table(builder, {1: ("int8", 0)})
    operators = [
        add_operator(builder, 0, (0, 1, 2), (3,), tflite.BuiltinOptions.Conv2DOptions, convolution),
        add_operator(builder, 1, (3, 4), (5,)),
        add_operator(builder, 2, (5, 6, -1), (7,), tflite.BuiltinOptions.FullyConnectedOptions, dense),
    ]
    buffers = [b"", bytes(8), bytes(16), b"\1\0\0\0\x40\0\0\0", bytes(192)]
    codes = [(BUILTIN.CONV_2D, convolution_version), (BUILTIN.RESHAPE, 1), (BUILTIN.FULLY_CONNECTED, 4)]
    return finish_model(builder, tensors, operators, (0,), (7,), codes, buffers)


def branches() -> bytes:
    """Unsupported operators beside supported ones, a custom operator, a change of type."""
    builder = flatbuffers.Builder(4096)
    tensors = [add_tensor(builder, f"tensor_{number}", (1, 2, 2, 4)) for number in range(6)]
    operators = [
        add_operator(builder, 0, (0,), (1,)),
        add_operator(builder, 1, (1, 0), (2,)),
        add_operator(builder, 2, (1,), (3,)),
        add_operator(builder, 3, (2, 3), (4,)),
        add_operator(builder, 4, (4,), (5,)),
    ]
    codes = [(BUILTIN.RELU, 1), (BUILTIN.DIV, 1), (BUILTIN.QUANTIZE, 1), (BUILTIN.ADD, 2)]
    codes.append(("PosenetDecoderOp", 1))
    return finish_model(builder, tensors, operators, (0,), (5,), codes, [b""])


def compiled(operators: int = 1, executables: int = 1, programs: int = 1, layers: int = 1) -> bytes:
    """The compiler's operator with a package, and what it left to the CPU; each part as often as asked."""
    builder = flatbuffers.Builder(4096)
    tensors = [add_tensor(builder, name, (1, 4)) for name in ("in", "middle", "out")]
    content = package(executables, executable(programs, layers))
    options = vector(builder, "uint8", flexbuffer({"1": 1, "4": content, "5": 0, "7": b"\x12"}))
    on_tpu = add_operator(builder, 0, (0,), (1,), custom=options)
    graph = [*[on_tpu] * operators, add_operator(builder, 1, (1,), (2,))]
    codes = [(EDGETPU_OP, 1), (BUILTIN.SOFTMAX, 2)]
    return finish_model(builder, tensors, graph, (0,), (2,), codes, [b""])


def package(executables: int, content: bytes) -> bytes:
    """A package that holds one executable, as often as asked."""
    builder = flatbuffers.Builder(1024)
    many = flatbuffers.Builder(1024)
    entries = vector(many, "offset", [many.CreateByteVector(content)] * executables)
    many = finish(many, table(many, {0: ("offset", entries)}))
    inner = builder.CreateByteVector(many)
    compiler = builder.CreateString("cl/384591198")
    root = table(builder, {0: ("int32", 14), 1: ("offset", inner), 4: ("offset", compiler)})
    return finish(builder, root, b"DWN1")


def executable(programs: int, layers: int) -> bytes:
    """An executable: parameters, instructions, a token, inputs and outputs."""
    builder = flatbuffers.Builder(1024)
    name, chip = builder.CreateString("in"), builder.CreateString("beagle")
    numerics = table(builder, {0: ("int32", 128), 1: ("float32", 0.5)})
    sizes = {1: ("int32", 4), 2: ("int32", 1), 3: ("int32", 1), 4: ("int32", 4)}
    layer = table(builder, {0: ("offset", name), **sizes, 5: ("offset", numerics)})
    layers = vector(builder, "offset", [layer] * layers)
    program = table(builder, {0: ("offset", builder.CreateByteVector(bytes(64)))})
    programs = vector(builder, "offset", [program] * programs)
    parameters = builder.CreateByteVector(bytes(range(128)))
    fields = {
        3: ("int32", 1),
        5: ("offset", programs),
        6: ("offset", parameters),
        8: ("offset", layers),
        9: ("offset", layers),
        10: ("offset", chip),
        12: ("int32", 1000),
        13: ("int16", EXECUTION_ONLY),
        14: ("uint64", 0x1234567890ABCDEF),
    }
    return finish(builder, table(builder, fields))


def flexbuffer(values: dict) -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in values.items():
            builder.Key(key)
            builder.Blob(value) if isinstance(value, bytes) else builder.Int(value)
    return bytes(builder.Finish())


def add_tensor(builder, name, shape, buffer=0, kind=INT8, scales=(0.5,)) -> int:
    """Write a quantized tensor; return its offset."""
    text, sizes = builder.CreateString(name), vector(builder, "int32", shape)
    numbers = {
        2: ("offset", vector(builder, "float32", scales)),
        3: ("offset", vector(builder, "int64", [0])),
    }
    quantization = table(builder, numbers)
    fields = {1: ("int8", kind), 2: ("uint32", buffer), 3: ("offset", text), 4: ("offset", quantization)}
    return table(builder, {0: ("offset", sizes), **fields})


def add_operator(builder, code, inputs, outputs, kind=0, options=None, custom=None) -> int:
    """Write an operator of the kind that stands at `code`; return its offset."""
    fields = {
        0: ("uint32", code),
        1: ("offset", vector(builder, "int32", inputs)),
        2: ("offset", vector(builder, "int32", outputs)),
    }
    if options is not None:
        fields |= {3: ("uint8", kind), 4: ("offset", options)}
    if custom is not None:
        fields |= {5: ("offset", custom)}
    return table(builder, fields)


def finish_model(builder, tensors, operators, inputs, outputs, codes, buffers) -> bytes:
    """Return the file: `codes` are (builtin number or custom name, version), `buffers` constants' bytes."""
    graph = table(
        builder,
        {
            0: ("offset", vector(builder, "offset", tensors)),
            1: ("offset", vector(builder, "int32", inputs)),
            2: ("offset", vector(builder, "int32", outputs)),
            3: ("offset", vector(builder, "offset", operators)),
        },
    )
    fields = {
        0: ("uint32", 3),
        1: ("offset", vector(builder, "offset", [_code(builder, *code) for code in codes])),
        2: ("offset", vector(builder, "offset", [graph])),
        4: ("offset", vector(builder, "offset", [_buffer(builder, data) for data in buffers])),
    }
    return finish(builder, table(builder, fields), b"TFL3")


def _code(builder, kind, version) -> int:
    if isinstance(kind, str):
        custom = builder.CreateString(kind)
        number = BUILTIN.CUSTOM
        return table(
            builder, {0: ("int8", number), 1: ("offset", custom), 2: ("int32", version), 3: ("int32", number)}
        )
    return table(builder, {0: ("int8", min(kind, 127)), 2: ("int32", version), 3: ("int32", kind)})


def _buffer(builder, data: bytes) -> int:
    return table(builder, {0: ("offset", builder.CreateByteVector(data))} if data else {})
