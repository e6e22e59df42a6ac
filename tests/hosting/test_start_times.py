"""What a process says about its start."""

from __future__ import annotations

import re
import subprocess
import sys

from exeunt.hosting.start_times import StartTimes, process_age_s

AGE = "import time; time.sleep(0.5); from exeunt.hosting.start_times import process_age_s; print(process_age_s())"


def test_a_process_knows_its_age() -> None:
    ended = subprocess.run([sys.executable, "-c", AGE], capture_output=True, text=True, check=True)
    assert float(ended.stdout) >= 0.48  # the system's clock of starts has ticks of 10 ms


def test_the_parts_of_a_start_add_up_from_the_processs_own() -> None:
    times, age_s = StartTimes(), process_age_s()
    times.done("Python")
    times.done("members")
    whole, *parts = map(float, re.findall(r"([\d.]+) s", times.line()))
    assert times.line().startswith("started in ") and len(parts) == 2
    assert abs(sum(parts) - whole) <= 0.02 and whole >= age_s - 0.02
