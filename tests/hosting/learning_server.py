"""A bag whose ramps learn, exported once, served in this process by the engine, on a stream that comes back."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.deciding.request import ParsedOptions, Release, Request
from exeunt.engine.engine import Engine
from exeunt.hosting import assembly
from exeunt.hosting.guard import Guard
from exeunt.hosting.ramp_learning import RampLearning
from exeunt.hosting.status import status_path
from exeunt.manifest import Manifest
from exeunt_export.export_bag import export_bag
from tests.export.tiny import SIDE, tiny_bag

SETTINGS = "learn_ramps = true\nlearn_cpu_share = 1.0\nmax_loss = 0.05"


def exported(folder: Path, mode: str = "engine") -> Path:
    """The version folder of a bag that may learn."""
    folder.mkdir(exist_ok=True)
    export_bag(tiny_bag(folder, mode=mode, members=2, exit_table=SETTINGS), folder / "repository")
    return folder / "repository" / "tiny_exit" / "1"


def stream(rows: int, seed: int = 0) -> np.ndarray:
    """Bright and dark pictures of a few kinds, unlike the noise that the ramps were trained on."""
    rng = np.random.default_rng([3, seed])
    kinds = np.random.default_rng(11).normal(size=(12, 1, SIDE, SIDE)) * 2.0
    kind = rng.integers(0, len(kinds), rows)
    return (kinds[kind] + 0.7 * rng.normal(size=(rows, 1, SIDE, SIDE))).astype(np.float32)


class Server:
    """One life of a server; `with` ends it in order."""

    def __init__(self, folder: Path, state_dir: Path | None, **settings: Any) -> None:
        manifest = assembly.read_manifest(folder, {})
        server_settings = dataclasses.replace(manifest.settings, state_dir=str(state_dir or ""), workers=2, **settings)
        self.manifest: Manifest = dataclasses.replace(manifest, settings=server_settings)
        self.lines: list[str] = []
        self.guard = Guard(self.lines.append)
        self.replies: dict[int, Release] = {}
        self.samples: dict[str, float] = {}
        self._new_reply = threading.Condition()
        engine = Engine(self.manifest, folder)
        self.controller = assembly.make_controller(self.manifest, folder)
        self.learning: RampLearning | None = assembly.make_learning(self.manifest, folder, engine, self.lines.append)
        self.hosted = assembly.HostedBag(
            self.controller, engine, self._reply, self._publish, self.lines.append, self.guard, {}, self.learning
        )

    def ask(self, rows: np.ndarray, batch: int = 4) -> None:
        """Ask about rows, a batch at a time, and wait for all full votes."""
        name = self.manifest.inputs[0].name
        for first in range(0, len(rows), batch):
            part = rows[first : first + batch]
            key = len(self.replies)
            self.hosted.host.submit(Request(key, len(part), ParsedOptions()), {name: part})
            with self._new_reply:
                assert self._new_reply.wait_for(lambda key=key: key in self.replies, timeout=60)
        end_s = time.monotonic() + 60
        while not self.controller.idle:
            assert time.monotonic() < end_s
            time.sleep(0.002)

    def metric(self, name: str) -> float:
        assert self.learning is not None
        return self.learning.metrics()[name]

    def _reply(self, release: Release) -> None:
        with self._new_reply:
            self.replies[release.key] = release
            self._new_reply.notify_all()

    def _publish(self, samples: list[Any]) -> None:
        self.samples = {sample.labels[-1][1]: sample.value for sample in samples if sample.family == "exeunt_ramps"}

    def __enter__(self) -> Server:
        state_dir = self.manifest.settings.state_dir
        end_s = time.monotonic() + 60
        while state_dir and not status_path(Path(state_dir), self.manifest.content_hash).exists():
            assert time.monotonic() < end_s
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.hosted.stop(5.0)
