"""The exit controller with members that sleep.

For benchmarks of what is around the members. On two shared cores three servers of real members take each other's time;
servers that sleep do not.
"""

import json
from pathlib import Path

from asleep import put_to_sleep  # beside this file; Triton puts its folder on the path

from exeunt.contract import MANIFEST_FILE
from exeunt_backends.exit_controller import model


class TritonPythonModel(model.TritonPythonModel):
    """NAME_exit, slow by sleep."""

    def initialize(self, args):
        """Put the members to sleep, then start as ever."""
        folder = Path(args["model_repository"]) / args["model_version"]
        put_to_sleep(json.loads((folder / MANIFEST_FILE).read_text()))
        super().initialize(args)
