"""Running a job of the ramps' learning in a process of its own; its side is exeunt/learning/child.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from exeunt.errors import ServingError
from exeunt.learning.job import Job, JobResult

_LOOK_S = 0.1
_LONGEST_S = 600.0  # of wall time: a niced process on a busy machine may starve for long, not for ever
_MOST_TEXT = 2000  # characters of what a failed process said


class JobError(ServingError):
    """A job came to nothing.

    Attributes:
        cpu_s: processor time that it took all the same.
    """

    def __init__(self, text: str, cpu_s: float) -> None:
        super().__init__(text)
        self.cpu_s = cpu_s


def run_in_process(job: Job, stopping: Callable[[float], bool]) -> JobResult:
    """Do a job in a niced process that ends with the calling thread, which must be one that lives long.

    Args:
        job: the job.
        stopping: waits for some seconds; True where the job is not wanted any more.

    Returns:
        the outcome; `cpu_s` is the process's processor time as the kernel counted it.

    Raises:
        JobError: it failed, was stopped, or took too long.
    """
    try:
        return _run_in_process(job, stopping)
    except OSError as error:  # no memory, no more processes or files
        raise JobError(f"the process of a job could not be started: {error}", 0.0) from error


def _run_in_process(job: Job, stopping: Callable[[float], bool]) -> JobResult:
    job_fd, outcome_fd = os.memfd_create("exeunt-job"), os.memfd_create("exeunt-outcome")
    try:
        with os.fdopen(os.dup(job_fd), "wb") as file:
            job.save(file)
        os.lseek(job_fd, 0, os.SEEK_SET)
        code, text, cpu_s = _run(job_fd, outcome_fd, stopping)
        if code:
            raise JobError(f"the process of a job ended with {code}: {text}", cpu_s)
        os.lseek(outcome_fd, 0, os.SEEK_SET)
        try:
            with os.fdopen(os.dup(outcome_fd), "rb") as file:
                return replace(JobResult.load(file), cpu_s=cpu_s)
        except Exception as error:  # an edge: what another process wrote
            raise JobError(f"the outcome of a job cannot be read: {error!r}", cpu_s) from error
    finally:
        os.close(job_fd)
        os.close(outcome_fd)


def _run(job_fd: int, outcome_fd: int, stopping: Callable[[float], bool]) -> tuple[int, str, float]:
    """Exit code (negative: the signal), the end of what it said, and its processor time in seconds."""
    line = [interpreter(), "-m", "exeunt.learning.child", str(job_fd), str(outcome_fd), str(os.getpid())]
    table = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    table |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    said_fd = os.memfd_create("exeunt-said")
    try:
        process = subprocess.Popen(
            line,
            env=table,
            pass_fds=(job_fd, outcome_fd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said_fd,
        )
        waited_s, killed = 0.0, False
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if not killed and (stopping(_LOOK_S) or waited_s > _LONGEST_S):
                os.kill(process.pid, signal.SIGKILL)
                killed = True
            if killed:
                time.sleep(_LOOK_S)
            waited_s += _LOOK_S
        process.returncode = os.waitstatus_to_exitcode(status)
        text = os.pread(said_fd, 1 << 20, 0).decode(errors="replace").strip()[-_MOST_TEXT:]
        return process.returncode, text, used.ru_utime + used.ru_stime
    finally:
        os.close(said_fd)


def interpreter() -> str:
    """The Python that runs us. Triton's stub embeds one, whose own idea of its program may be wrong."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [Path(sys.executable)] if sys.executable else []
    candidates += [
        Path(prefix) / "bin" / program for prefix in (sys.prefix, sys.base_prefix) for program in (name, "python3")
    ]
    for path in candidates:
        if path.name.startswith("python") and os.access(path, os.X_OK):
            return str(path)
    return "python3"
