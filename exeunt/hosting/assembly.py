"""Put a host together from a repository's version folder: manifest, calibration, tuner, controller, keeper."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from exeunt.contract import CALIBRATION_FILE, MANIFEST_FILE
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import Release
from exeunt.hosting.host import GIL_SWITCH_S, ControllerHost, Runner
from exeunt.hosting.keeper import Keeper
from exeunt.hosting.metrics import Sample
from exeunt.manifest import Manifest
from exeunt.records.calibration import load_calibration
from exeunt.records.control import STATE_DIR_VARIABLE
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup


def read_manifest(folder: Path, overrides: Mapping[str, str]) -> Manifest:
    """The manifest of `NAME_exit/1`, its settings overridden by config.pbtxt's parameters and the environment.

    Args:
        folder: version folder of NAME_exit.
        overrides: parameter -> text.

    Raises:
        ConfigError: no or damaged manifest; an unknown parameter or a value that is not allowed.
    """
    manifest = Manifest.load(folder / MANIFEST_FILE)
    told = dict(overrides)
    if STATE_DIR_VARIABLE in os.environ:
        told.setdefault("state_dir", os.environ[STATE_DIR_VARIABLE])
    settings = manifest.settings.overridden(told, f"{folder.parent / 'config.pbtxt'}: parameters")
    return dataclasses.replace(manifest, settings=settings)


def make_controller(manifest: Manifest, folder: Path) -> Controller:
    """The controller of a bag, with its tuner started from the calibration data in `folder`.

    Raises:
        ConfigError: no or damaged calibration file; a tuner option that is not allowed.
    """
    settings = manifest.settings
    calibration = load_calibration(folder / CALIBRATION_FILE, manifest)
    tuner = make_tuner(Setup(manifest.costs(), settings, calibration, settings.seed))
    return Controller(manifest, tuner, np.random.default_rng(settings.seed))


def start(
    controller: Controller,
    runner: Runner,
    reply: Callable[[Release], None],
    publish: Callable[[list[Sample]], None],
    log: Callable[[str], None],
) -> tuple[ControllerHost, Keeper]:
    """Start host and keeper around a controller.

    Args:
        controller: made by `make_controller`.
        runner: runs the members.
        reply: takes every Release.
        publish: takes every metrics sample about once a second.
        log: takes lines for the operator.
    """
    sys.setswitchinterval(GIL_SWITCH_S)
    settings = controller.settings
    host = ControllerHost(controller, runner, reply)
    keeper = Keeper(host, Path(settings.state_dir) if settings.state_dir else None, runner.metrics, publish, log)
    host.start()
    keeper.start()
    return host, keeper
