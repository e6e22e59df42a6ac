"""In place of Grafana: healthy where Grafana would find its files and its folder, draws nothing.

Needs, as the container's user: provisioned files readable, dashboards JSON, the data folder and /tmp writable.
"""

import json
import os
import pathlib
import signal
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROVISIONING = pathlib.Path("/etc/grafana/provisioning")
HOME = pathlib.Path(os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])


class Health(BaseHTTPRequestHandler):
    """GET /api/health."""

    def do_GET(self) -> None:
        """200 to the path that the compose file's healthcheck asks, else 404."""
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()


provisioning_files = [file for file in PROVISIONING.rglob("*.yml") if file.read_text()]
boards = {file: json.loads(file.read_text()) for file in HOME.parent.glob("*.json")}
assert len(provisioning_files) >= 2 and HOME in boards, (provisioning_files, boards)
for folder in ("/var/lib/grafana", "/tmp"):
    tempfile.TemporaryFile(dir=folder).close()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("its files are in their places", flush=True)
ThreadingHTTPServer(("0.0.0.0", 3000), Health).serve_forever()
