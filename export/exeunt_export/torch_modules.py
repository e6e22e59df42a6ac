"""Members given as torch modules."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

try:
    import torch
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    raise ModuleNotFoundError(
        "members given as torch modules need torch, which is not installed; pip install 'exeunt[torch]'", name="torch"
    ) from None

from exeunt.errors import ConfigError
from exeunt_export.bagfile.bagfile import BagFile, BagMember
from exeunt_export.export_bag import export_bag
from exeunt_export.export_progress import Progress
from exeunt_export.onnxfiles import OPSET, first_line
from exeunt_export.report.export_report import ExportReport

_EXPORTER_LOG = "torch.onnx._internal.exporter._registration"  # warns of a torchvision that nobody needs


def export_modules(
    name: str,
    modules: Mapping[str, torch.nn.Module],
    samples: Mapping[str, np.ndarray] | np.ndarray,
    output: Path | str,
    *,
    weights: Mapping[str, float] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **fields: Any,
) -> ExportReport:
    """Export a bag of torch modules.

    Args:
        name: the bag's name.
        modules: member -> classifier; put into eval mode. Their `forward` takes the inputs in the order of `samples`.
        samples: unlabelled inputs, [rows, ...] per public input; a bare array is the input INPUT.
        output: folder of the repository; it appears whole or not at all.
        weights: member -> weight in the vote; 1 where it is missing.
        force: replace a repository that exeunt wrote.
        progress: called with (stage, steps done, total).
        **fields: further fields of BagFile: labels, mode, vote, seed, cuts, serving, settings.

    Returns:
        what was done.

    Raises:
        ConfigError: a module that torch cannot export, or as `export_bag`.
    """
    rows = {"INPUT": samples} if isinstance(samples, np.ndarray) else dict(samples)
    progress = progress or (lambda stage, steps_done, total: None)
    with tempfile.TemporaryDirectory() as folder:
        members = []
        for number, (member, module) in enumerate(modules.items()):
            progress("export modules", number, len(modules))
            file = Path(folder) / f"{member}.onnx"
            save_module(module, rows, file)
            members.append(BagMember(member, file, (weights or {}).get(member, 1.0)))
        progress("export modules", len(modules), len(modules))
        bag = BagFile(where=f"bag {name}", name=name, members=tuple(members), samples=None, **fields)
        return export_bag(bag, output, samples=rows, force=force, progress=progress)


def save_module(module: torch.nn.Module, samples: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a torch module as ONNX with a dynamic batch dimension.

    Args:
        module: put into eval mode; takes the inputs in the order of `samples`.
        samples: input name -> at least 2 rows, [rows, ...].
        path: the file.

    Raises:
        ConfigError: torch cannot export it.
    """
    module.eval()
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(sample[:2])) for sample in samples.values())
    batch = torch.export.Dim("rows")
    try:
        with _without_warnings():
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(samples),
                output_names=["SCORES"],
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ConfigError(f"{path.stem}: torch cannot export {type(module).__name__}: {first_line(error)}") from error
    assert program is not None  # with dynamo=True and no file it is always returned
    program.save(path)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without the exporter's remarks about its own deprecated parts."""
    logger = logging.getLogger(_EXPORTER_LOG)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=FutureWarning)
            warnings.simplefilter("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="torch")
            yield
    finally:
        logger.setLevel(level)
