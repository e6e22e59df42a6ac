"""Which public input is the attention mask: it has a number for every token, but not the token's id."""

from __future__ import annotations

import onnx_ir as ir

from exeunt_export.readers.graph import MemberGraph

_NUMBERS = ("int64", "int32", "int16", "int8", "uint8", "bool")
_SAME = frozenset(("Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Expand"))  # values stay


def mask_of(member: MemberGraph, tokens: int) -> str:
    """Name of the input that masks `tokens` tokens (-1 = any number); "" where none does, or it cannot be told.

    A mask is an integer or boolean input [rows, tokens] that never chooses rows of a table: ids of tokens, types and
    positions do. Where several are left, the one named so.
    """
    values = {value.name: value for value in member.model.graph.inputs}
    masks = [
        input_.name
        for input_ in member.inputs
        if input_.dtype in _NUMBERS and input_.dims == (tokens,) and not _is_index(values[input_.name])
    ]
    named = [name for name in masks if "mask" in name.lower()]
    return masks[0] if len(masks) == 1 else named[0] if len(named) == 1 else ""


def _is_index(value: ir.Value) -> bool:
    """Whether a value is an index into a table, as it is or in another shape."""
    front, visited_values = [value], set[ir.Value]()
    while front:
        value = front.pop()
        visited_values.add(value)
        for user, place in value.uses():
            if (user.op_type in ("Gather", "GatherND", "GatherElements") and place == 1) or user.op_type == "OneHot":
                return True
            if user.op_type in _SAME and place == 0:
                front += [out for out in user.outputs if out not in visited_values]
    return False
