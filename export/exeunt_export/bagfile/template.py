"""A bag file's text with every default as a comment, and what each key means above it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exeunt.settings import Settings
from exeunt_export.bagfile.bagfile import BagFile, BagMember, Cuts, Serving
from exeunt_export.bagfile.pictures import ImageInput

_TABLES = ("members", "cuts", "serving", "settings", "images")


def bag_text(
    values: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    images: Mapping[str, ImageInput],
    left_out: Iterable[str] = (),
) -> str:
    """The text.

    Args:
        values: keys of the bag that are set.
        members: keys that are set, of each.
        images: public input -> its [images.INPUT] table.
        left_out: files that are no members, and why.
    """
    lines = ["# A key behind # has the default that stands there. docs/bag_file.md explains them at length.", ""]
    lines += _keys(BagFile, values, skipped=("where", *_TABLES))
    for number, member in enumerate(members):
        lines += ["", "[[member]]", *_keys(BagMember, member, explained=not number)]
    for text in left_out:
        lines += ["", *(f"# left out: {line}" for line in text.splitlines())]
    for name, image in images.items():
        lines += ["", f"[images.{name}]", *_keys(ImageInput, _values_set(image))]
    for name, kind in (("cuts", Cuts), ("serving", Serving), ("exit", Settings)):
        lines += ["", f"[{name}]", *_keys(kind, {})]
    return "\n".join(lines) + "\n"


def _values_set(table: Any) -> dict[str, Any]:
    """Values of a table that are not its defaults."""
    fields = dataclasses.fields(table)
    return {field.name: value for field in fields if (value := getattr(table, field.name)) != field.default}


def _keys(kind: type[Any], values: Mapping[str, Any], skipped: Sequence[str] = (), explained: bool = True) -> list[str]:
    """Lines of one table: a key that is set as it is, any other with its default behind #."""
    meaning = _meanings(kind)
    lines = []
    for field in dataclasses.fields(kind):
        if field.name in skipped or (field.name not in values and not explained):
            continue
        if explained and field.name in meaning:
            lines.append(f"# {meaning[field.name]}")
        if field.name in values:
            lines.append(f"{field.name} = {_toml(values[field.name])}")
        else:
            lines.append(f"#{field.name} = {_toml(_default(field))}")
    return lines


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "" if field.default in (None, dataclasses.MISSING) else field.default


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Key -> what the class says of it under `Attributes:`."""
    _, _, text = (kind.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)
