"""The process of a job."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from exeunt.hosting.job_process import JobError, run_in_process
from exeunt.learning.job import Job
from tests.learning.world import STRUCTURE, exported, served


def job(rows: int = 400, cpu_s: float = 30.0) -> Job:
    return Job(STRUCTURE, exported(), 0.02, 1, cpu_s, served(rows, 0), np.ones(rows, dtype=np.float32))


def waits(seconds: float) -> bool:
    return threading.Event().wait(seconds)


def test_a_job_is_done_in_a_process_and_its_processor_time_is_known() -> None:
    outcome = run_in_process(job(), waits)
    assert outcome.heads and 0.0 < outcome.cpu_s < 30.0


def test_a_process_that_dies_is_an_error_with_its_last_words() -> None:
    broken = dataclasses.replace(job(), weights=np.ones(3, dtype=np.float32))
    with pytest.raises(JobError, match="IndexError") as caught:
        run_in_process(broken, waits)
    assert caught.value.cpu_s > 0.0


def test_a_job_that_is_not_wanted_any_more_ends_at_once() -> None:
    began_s = time.monotonic()
    with pytest.raises(JobError):
        run_in_process(job(), lambda seconds: True)
    assert time.monotonic() - began_s < 30.0


PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
print(child.pid, flush=True)
time.sleep(600)
"""
CHILD = """
import os, sys, time
from exeunt.learning import child
child.tie_to(int(sys.argv[1]))
os.nice(child.NICE)
time.sleep(600)
"""


def test_the_process_of_a_job_ends_with_its_parent_however_that_ends() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        niced = Path(f"/proc/{pid}/stat")
        end_s = time.monotonic() + 60
        while os.getpriority(os.PRIO_PROCESS, pid) != 19:
            assert time.monotonic() < end_s
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while niced.exists() and ") Z " not in niced.read_text():
            assert time.monotonic() < end_s
            time.sleep(0.05)
