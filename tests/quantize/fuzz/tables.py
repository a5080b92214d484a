"""Writes flatbuffer tables by field number, without generated code."""

import flatbuffers

_SLOTS = {
    "int8": ("PrependInt8Slot", "PrependInt8", 1),
    "uint8": ("PrependUint8Slot", "PrependUint8", 1),
    "int16": ("PrependInt16Slot", "PrependInt16", 2),
    "int32": ("PrependInt32Slot", "PrependInt32", 4),
    "uint32": ("PrependUint32Slot", "PrependUint32", 4),
    "int64": ("PrependInt64Slot", "PrependInt64", 8),
    "uint64": ("PrependUint64Slot", "PrependUint64", 8),
    "float32": ("PrependFloat32Slot", "PrependFloat32", 4),
    "offset": ("PrependUOffsetTRelativeSlot", "PrependUOffsetTRelative", 4),
}


def table(builder: flatbuffers.Builder, fields: dict[int, tuple[str, float]]) -> int:
    """Write a table of {field number: (kind, value)}; return its offset."""
    builder.StartObject(max(fields, default=-1) + 1)
    for number, (kind, value) in fields.items():
        getattr(builder, _SLOTS[kind][0])(number, value, 0)
    return builder.EndObject()


def vector(builder: flatbuffers.Builder, kind: str, items) -> int:
    """Write a vector; return its offset."""
    _, prepend, size = _SLOTS[kind]
    builder.StartVector(size, len(items), size)
    for item in reversed(items):
        getattr(builder, prepend)(item)
    return builder.EndVector()


def finish(builder: flatbuffers.Builder, root: int, identifier: bytes | None = None) -> bytes:
    """Return the finished file."""
    builder.Finish(root, file_identifier=identifier)
    return bytes(builder.Output())
