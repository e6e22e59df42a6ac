"""A host with an engine in this process, and what it replied."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.deciding.request import ParsedOptions, Release, Request
from exeunt.engine.engine import Engine
from exeunt.hosting.host import ControllerHost
from exeunt.manifest import Manifest
from tests.deciding.controller_bag import FixedThresholds


class Desk:
    """Ask, then look at `answers`; ends in order."""

    def __init__(self, bag: Manifest, folder: Path, thresholds: list[float], **settings: Any) -> None:
        bag = dataclasses.replace(bag, settings=dataclasses.replace(bag.settings, **{"workers": 2, **settings}))
        self.engine = Engine(bag, folder)
        self.input = bag.inputs[0].name
        self.tuner = FixedThresholds(bag, thresholds)
        self.controller = Controller(bag, self.tuner, np.random.default_rng(0))
        self.replies: dict[Any, Release] = {}
        self.arrival = threading.Condition()
        self.host = ControllerHost(self.controller, self.engine, self.reply)
        self.host.start()

    def reply(self, release: Release) -> None:
        with self.arrival:
            assert release.key not in self.replies
            self.replies[release.key] = release
            self.arrival.notify_all()

    def ask(self, key: Any, x: np.ndarray | dict[str, np.ndarray], **options: Any) -> None:
        inputs = x if isinstance(x, dict) else {self.input: x}
        rows = len(next(iter(inputs.values())))
        self.host.submit(Request(key, rows, ParsedOptions(**options)), inputs)

    def answers(self, count: int) -> dict[Any, Release]:
        with self.arrival:
            assert self.arrival.wait_for(lambda: len(self.replies) >= count, timeout=60)
        return self.replies

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.host.drain(10)
        self.host.close()
