"""The process of one job: nice, tied to its parent, bounded in processor time. `python -m exeunt.learning.child`.

A job comes in a file without a name that the parent holds, and the outcome goes into another: finished rows are
callers' data and touch no disk. The parent is hosting/job_process.py.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time

from exeunt.learning.job import Job, run_job

NICE = 19
PR_SET_PDEATHSIG = 1
SPARE_CPU_S = 10  # beyond what the job may take: it looks at its clock only between steps


def tie_to(parent: int) -> None:
    """Die with the thread that started us, however it ends; at once where it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Do the job in descriptor argv[1], write the outcome to descriptor argv[2]; argv[3] is the parent."""
    job_fd, outcome_fd, parent = map(int, sys.argv[1:])
    tie_to(parent)
    os.nice(NICE)
    with os.fdopen(job_fd, "rb") as file:
        job = Job.load(file)
    most_s = int(job.cpu_s) + SPARE_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, most_s))
    outcome = run_job(job, time.process_time)
    with os.fdopen(outcome_fd, "wb") as file:
        outcome.save(file)


if __name__ == "__main__":
    main()
