"""`exeunt check`: everything about a repository that can be known without a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exeunt.errors import ConfigError
from exeunt.serving.bags import CONFIG_FILE, served_bags
from exeunt.serving.checks.bag import bag_problems
from exeunt.serving.checks.onnx_contract import disagreements, onnx_ports
from exeunt.serving.checks.problem import AGAIN, Problem
from exeunt.serving.checks.response_cache import refuse_response_caches
from exeunt.serving.checks.row import row_problems
from exeunt.serving.checks.wiring import wiring_problems
from exeunt.serving.onnx_model import OnnxFileError, open_session
from exeunt.serving.repository import Model, model_folders, read_model


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and what is wrong.

    Attributes:
        problems: what is wrong, in the order of the checks; empty if nothing is.
    """

    models: tuple[str, ...]
    bags: tuple[str, ...]
    problems: tuple[Problem, ...]


def check_repository(repository: Path) -> Report:
    """Check a repository: configs, ONNX files, ensembles, manifests, and one row through every segment.

    A bag whose models are sound is also run, since a row through wrong models would only repeat what is known.

    Raises:
        ConfigError: there is no repository to check.
    """
    problems: list[Problem] = []
    models: dict[str, Model] = {}
    for folder in model_folders(repository):
        try:
            models[folder.name] = read_model(folder)
        except ConfigError as error:
            problems.append(Problem(f"{folder.name}/{CONFIG_FILE}", "", str(error), "correct it, or " + AGAIN))
    for model in models.values():
        problems += _model_problems(model)
    problems += wiring_problems(models)
    try:
        bags = served_bags(repository)
        refuse_response_caches(repository)
    except ConfigError as error:
        bags = []
        problems.append(Problem("", "", str(error), AGAIN))
    for bag in bags:
        problems += bag_problems(bag, models)
        if not problems:
            problems += row_problems(bag, repository)
    return Report(tuple(models), tuple(bag.manifest.bag for bag in bags), tuple(problems))


def _model_problems(model: Model) -> Iterator[Problem]:
    """What is wrong with one model's folder and, if it has one, its ONNX file."""
    version = model.folder / "1"
    if not version.is_dir():
        yield Problem(f"{model.name}/1", "", "no such folder; Triton wants one for each version", AGAIN)
    elif model.backend == "onnxruntime":
        file = version / (model.message.default_model_filename or "model.onnx")
        where = f"{model.name}/{CONFIG_FILE}"
        try:
            session = open_session(file)
        except OnnxFileError as error:
            yield Problem(f"{model.name}/1/{file.name}", "", str(error), AGAIN)
            return
        ports = onnx_ports(session.get_inputs()), onnx_ports(session.get_outputs())
        for key, what in disagreements(model.config, *ports):
            yield Problem(where, key, what, AGAIN)
