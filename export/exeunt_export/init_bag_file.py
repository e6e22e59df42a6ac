"""The bag file that `exeunt init` writes, from ONNX files and samples on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from exeunt.errors import ConfigError
from exeunt_export.bagfile import samples as sampling
from exeunt_export.bagfile import tabular
from exeunt_export.bagfile.bagfile import BagMember, is_taken
from exeunt_export.bagfile.pictures import NORMALISATIONS, ImageInput
from exeunt_export.bagfile.template import bag_text
from exeunt_export.readers import graph
from exeunt_export.readers.normalisation import normalisation_of

_SIDE = 224  # pixels, where a member leaves them free
PUBLIC = "IMAGE"


@dataclass(frozen=True, slots=True)
class InitRequest:
    """What a bag file is to be written from.

    Attributes:
        name: of the bag.
        members: ONNX files.
        samples: their samples, in any of the forms that a bag file takes.
        folder: that paths in the bag file are relative to.
        labels: file of labels; None for those that the files know.
        mode: "engine" or "ensemble".
        normalise: of images, a key of NORMALISATIONS; "" to read it from the files.
        strict: whether a file that is no classifier of these samples is an error, or is left out.
    """

    name: str
    members: Sequence[Path]
    samples: Path
    folder: Path
    labels: Path | None = None
    mode: str = "engine"
    normalise: str = ""
    strict: bool = True


class UnknownScalingError(ConfigError):
    """Nothing says how pixels become numbers for a member; `--normalise` does."""


def init_bag_text(request: InitRequest) -> str:
    """The text of a bag file.

    Raises:
        ConfigError: no members, samples that cannot be read, a member that cannot be used (where the request is
            strict), or images whose normalisation nothing tells (UnknownScalingError).
    """
    if not request.members:
        raise ConfigError(f"{request.folder}: no ONNX files; a bag has at least one member")
    files: list[Path] = list(request.members)
    images: dict[Path, ImageInput] = {}
    left_out: list[str] = []
    if request.samples.is_dir():
        images = _image_inputs(request, left_out)
        files = list(images)
    public = _public_names(list(images.values()))
    arrays = _arrays(request, public)
    members = []
    for name, file in zip(_names(files), files, strict=True):
        inputs = {graph.read(file).graph.inputs[0].name or "": public[images[file]]} if len(public) > 1 else {}
        try:
            graph.finish_member(graph.draft_member(BagMember(name, file, inputs=inputs), arrays, "--samples"))
        except ConfigError as error:
            if request.strict:
                raise
            left_out.append(str(error))
            continue
        members.append({"name": name, "file": _path(file, request.folder)} | ({"inputs": inputs} if inputs else {}))
    if not members:
        problems = "; ".join(left_out)
        raise ConfigError(f"{request.folder}: no file there is a classifier of {request.samples}: {problems}")
    values = {"name": request.name, "samples": _path(request.samples, request.folder), "mode": request.mode}
    if request.labels is not None:
        values["labels"] = _path(request.labels, request.folder)
    columns = _columns(request)
    more = {"inputs": columns} if columns else {}
    return bag_text(values | more, members, {name: image for image, name in public.items()}, left_out)


def _image_inputs(request: InitRequest, left_out: list[str]) -> dict[Path, ImageInput]:
    """How each file wants its images; what takes none is added to `left_out`."""
    inputs = {}
    for file in request.members:
        try:
            inputs[file] = _image_input(file, request.normalise)
        except UnknownScalingError:
            raise
        except ConfigError as error:
            if request.strict:
                raise
            left_out.append(str(error))
    return inputs


def _names(files: Sequence[Path]) -> list[str]:
    """Members' names after their files', each once."""
    names: list[str] = []
    for file in files:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", file.stem).strip("_-") or "member"
        name = f"{name}_member" if is_taken(name) else name
        number, free = 2, name
        while free in names:
            number, free = number + 1, f"{name}_{number}"
        names.append(free)
    return names


def _path(file: Path, folder: Path) -> str:
    """The path for a bag file in `folder`: relative to it where the file lies below it."""
    whole, base = Path(os.path.abspath(file)), Path(os.path.abspath(folder))
    return str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)


def _arrays(request: InitRequest, public: dict[ImageInput, str]) -> dict[str, np.ndarray]:
    """The samples, or one blank row of images: here they only give shapes to compare members with."""
    if public:
        return {name: np.zeros((1, *image.dims), image.dtype) for image, name in public.items()}
    return sampling.load(request.samples, "--samples", _columns(request))


def _columns(request: InitRequest) -> list[str]:
    """Inputs that are columns of a table: there are some if members take several inputs."""
    if request.samples.suffix.lower() not in tabular.SUFFIXES:
        return []
    names = dict.fromkeys(value.name or "" for file in request.members for value in graph.read(file).graph.inputs)
    return list(names) if len(names) > len(request.members) else []


def _public_names(images: Sequence[ImageInput]) -> dict[ImageInput, str]:
    """A public input for each way in which members want images."""
    kinds = list(dict.fromkeys(images))
    return {kind: PUBLIC if len(kinds) == 1 else f"{PUBLIC}_{number}" for number, kind in enumerate(kinds, start=1)}


def _image_input(file: Path, normalise: str) -> ImageInput:
    """How a member wants its images: by the shape of its input, and by what is beside or in its file."""
    model = graph.read(file)
    value = model.graph.inputs[0]
    shape = [size if isinstance(size, int) else 0 for size in value.shape or ()]
    if len(model.graph.inputs) != 1 or len(shape) != 4 or value.dtype is None:
        raise ConfigError(f"{file}: samples are images, but it does not take one input [rows, channels, height, width]")
    layout = "NHWC" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW"
    channels, *size = shape[1:] if layout == "NCHW" else (shape[3], shape[1], shape[2])
    if channels not in (0, 1, 3):
        raise ConfigError(f"{file}: input {value.name!r} has {channels} channels; images have 1 or 3")
    kind = ImageInput(
        size=tuple(side or _SIDE for side in size),
        layout=layout,
        channels="gray" if channels == 1 else "rgb",
        dtype=str(value.dtype.numpy()),
    )
    return _with_normalisation(kind, model, file, normalise)


def _with_normalisation(kind: ImageInput, model: ir.Model, file: Path, normalise: str) -> ImageInput:
    keys = {"normalise": normalise} if normalise else normalisation_of(model, file)
    if keys is None:
        raise UnknownScalingError(
            f"{file}: nothing in it or beside it says how pixels become numbers; --normalise "
            f"{' or '.join(NORMALISATIONS)} (0 to 255; 0 to 1; -1 to 1; ImageNet's mean and deviation) says it, as "
            "the member was trained"
        )
    return replace(kind, **keys)
