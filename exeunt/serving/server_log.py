"""What a Triton server's log says about a failure."""

from __future__ import annotations

import re
from pathlib import Path

_ERROR = re.compile(r"^[EF]\d{4} ")  # glog: severity, month and day
_ANY = re.compile(r"^[IWEF]\d{4} ")
_MOST_LINES = 40
# said by Boost, which Triton's Python backend is made with; Triton itself says nothing
ABORTED = "boost::interprocess::lock_exception"
_STARVED = (
    "While it loads, Triton before 25.08 gives up a backend process that does not run for a second, and often ends so: "
    "is this host too busy, or short of memory? Start again when it is less so"
)
_NOISE = ("CudaDriverHelper has not been initialized",)  # said on every host without a GPU


def error_lines(log: Path) -> list[str]:
    """The log's error lines, oldest first, without repeats: glog's E and F lines with what follows them.

    Triton reports a failed model several times (at load, in the table of models, at exit). The table's rows count only
    where no error line names the cause. A last line of ours says what a known end means.
    """
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    errors: list[str] = []
    rows: list[str] = []
    inside = False
    for line in text.splitlines():
        if _ANY.match(line):
            inside = bool(_ERROR.match(line))
            line = line.split("] ", 1)[-1].strip().strip('"')  # without time, thread and source
        elif line.startswith(("|", "+", "error:")):
            inside = line.startswith("error:")
            if "UNAVAILABLE" in line:
                rows.append(" ".join(line.strip("| ").split()))
        if inside and line.strip() and line.strip() not in errors and not line.startswith(_NOISE):
            errors.append(line.strip())
    lines = (errors or rows or text.splitlines()[-5:])[:_MOST_LINES]
    return [*lines, _STARVED] if ABORTED in text else lines
