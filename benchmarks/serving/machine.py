"""The machine that figures come from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "onnxruntime", "torch", "nvidia-pytriton", "tritonclient")


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    load = [round(average, 1) for average in os.getloadavg()]
    cores = len(os.sched_getaffinity(0))
    return {
        "cpu": model,
        "cores": cores,
        "load_average_at_start": load,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
