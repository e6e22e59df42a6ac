"""Sessions that sleep for the manifest's times: votes are real, and no core is taken."""

import time

import numpy as np

from exeunt.engine import sessions


def put_to_sleep(manifest):
    """Have every session of this process take the time that a manifest (a table) says of its segment.

    The session runs, then its worker sleeps for the rest; between profiled batch sizes times are interpolated.
    """
    segments = [segment for member in manifest["members"] for segment in member["segments"]]
    times_s = {
        segment["model"]: (list(map(float, segment["cost_us"])), [us / 1e6 for us in segment["cost_us"].values()])
        for segment in segments
    }
    run_really = sessions.Session.run

    def run(self, outputs, feed):
        rows, begun_s = len(next(iter(feed.values()))), time.monotonic()
        votes = run_really(self, outputs, feed)
        if self.model in times_s:
            time.sleep(max(0.0, np.interp(rows, *times_s[self.model]) - (time.monotonic() - begun_s)))
        return votes

    sessions.Session.run = run
