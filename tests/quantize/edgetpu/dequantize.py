"""Makes a float32 .tflite file out of an int8 one, to have a float model of a recorded architecture."""

import flatbuffers
import numpy as np

_NUMPY = {2: np.int32, 3: np.uint8, 9: np.int8}  # TensorType: INT32, UINT8, INT8
_FLOAT32, _QUANTIZE = 0, 114


def dequantize(content: bytes) -> bytes:
    """The same graph without QUANTIZE, every quantized tensor as real values, every operator in version 1."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        if tensor.quantization is not None and tensor.quantization.scale is not None:
            _make_real(tensor, model)
    _drop_quantize(graph, model.operatorCodes)
    for code in model.operatorCodes:
        code.version = 1
    model.signatureDefs = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _make_real(tensor, model) -> None:
    about, data = tensor.quantization, model.buffers[tensor.buffer].data
    if data is not None and len(data):
        shape = [1] * len(tensor.shape)
        if len(about.scale) > 1:
            shape[about.quantizedDimension] = -1
        numbers = np.asarray(data, np.uint8).view(_NUMPY[tensor.type]).reshape(tensor.shape)
        zero_points = np.reshape(about.zeroPoint, shape)
        real = (numbers - zero_points) * np.reshape(about.scale, shape)
        model.buffers.append(type(model.buffers[0])())
        model.buffers[-1].data = np.frombuffer(real.astype("<f4").tobytes(), np.uint8)
        tensor.buffer = len(model.buffers) - 1
    tensor.type, tensor.quantization = _FLOAT32, None


def _drop_quantize(graph, codes) -> None:
    origin = {}
    kept = []
    for operator in graph.operators:
        operator.inputs = np.array([origin.get(index, index) for index in operator.inputs], np.int32)
        if codes[operator.opcodeIndex].builtinCode == _QUANTIZE:
            origin[operator.outputs[0]] = operator.inputs[0]
        else:
            kept.append(operator)
    graph.operators = kept
    graph.outputs = np.array([origin.get(index, index) for index in graph.outputs], np.int32)
