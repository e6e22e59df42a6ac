"""The process behind processes.Reaper: `python -m exeunt.serving.reaper GROUP NAME FOLDER`, ended by its supervisor."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from exeunt.serving.leftovers import remove_leftovers
from exeunt.serving.processes import kill_group, members

PATIENCE_S = 5.0  # for Triton to finish its work: it got SIGTERM when its supervisor ended


def main() -> None:
    """Wait for the supervisor's end, then remove what is left of its server."""
    group, name, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    sys.stdin.read()  # ends with the supervisor
    end_s = time.monotonic() + PATIENCE_S
    while members(group) and time.monotonic() < end_s:
        time.sleep(0.1)
    kill_group(group)
    remove_leftovers(name)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
