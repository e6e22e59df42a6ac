"""The exit controller with members that sleep: each run takes the manifest's time and no core.

For benchmarks of what is around the members. On two shared cores three servers of real members take each other's time;
servers that sleep do not. Votes are real: the session runs, then the worker sleeps.
"""

import json
import time
from pathlib import Path

import numpy as np

from exeunt.contract import MANIFEST_FILE
from exeunt.engine import sessions
from exeunt_backends.exit_controller import model

_run = sessions.Session.run


class TritonPythonModel(model.TritonPythonModel):
    """NAME_exit, slow by sleep."""

    def initialize(self, args):
        """Read how long the segments take, then start as ever."""
        manifest = json.loads((Path(args["model_repository"]) / args["model_version"] / MANIFEST_FILE).read_text())
        segments = [segment for member in manifest["members"] for segment in member["segments"]]
        times_s = {
            segment["model"]: (list(map(float, segment["cost_us"])), [us / 1e6 for us in segment["cost_us"].values()])
            for segment in segments
        }

        def run(self, outputs, feed):
            rows, begun_s = len(next(iter(feed.values()))), time.monotonic()
            votes = _run(self, outputs, feed)
            if self.model in times_s:
                time.sleep(max(0.0, np.interp(rows, *times_s[self.model]) - (time.monotonic() - begun_s)))
            return votes

        sessions.Session.run = run
        super().initialize(args)
