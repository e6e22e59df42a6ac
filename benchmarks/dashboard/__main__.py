"""The picture of the Grafana dashboard in the docs: a bag is served, asked for some minutes, watched and drawn.

    python -m benchmarks.dashboard [runs/demo/model_repository runs/demo/test.npy] [--minutes 6] [--rate 20]

serves a repository of one bag with one input (by default the demo's), sends rows of the file at chance times, lets a
Prometheus scrape it every second with the rules of deploy/prometheus, and draws every panel into
docs/figures/dashboard.png. Needs Prometheus and Chromium. With --url it draws what a Prometheus that runs already has.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.dashboard.page import page, picture
from exeunt.serving.bags import served_bags
from exeunt.serving.pip_server import Server, serve
from exeunt_client import Client
from tests.deploy.prometheus import running_prometheus

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/dashboards/exeunt.json"


def ask(server: Server, bag: str, rows: np.ndarray, rate: float, stop: threading.Event) -> None:
    """Send one row after another, `rate` a second on average, until `stop` is set."""
    rng = np.random.default_rng(0)
    with Client(f"grpc://{server.grpc_url}", bag) as client:
        while not stop.wait(rng.exponential(1 / rate)):
            client.ask(rows[rng.integers(len(rows))])


def draw(url: str, bag: str, minutes: float, output: Path) -> None:
    """Draw the last minutes that a Prometheus has seen."""
    end_s = time.time()
    variables = {"bag": bag, "instance": ".*", "__rate_interval": "1m"}
    html = page(json.loads(DASHBOARD.read_text(encoding="utf-8")), url, variables, (end_s - 60 * minutes, end_s))
    if output.suffix == ".html":
        output.write_text(html, encoding="utf-8")
    else:
        picture(html, output)


def main(argv: Sequence[str] | None = None) -> int:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, nargs="?", default=Path("runs/demo/model_repository"))
    parser.add_argument("rows", type=Path, nargs="?", default=Path("runs/demo/test.npy"), help="of the bag's input")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--url", help="of a Prometheus that runs, in place of all that")
    parser.add_argument("--bag", help="for --url")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/figures/dashboard.png", help=".png or .html")
    args = parser.parse_args(argv)
    if args.url:
        draw(args.url.rstrip("/"), args.bag, args.minutes, args.output)
        return 0
    (bag,) = (bag.manifest.bag for bag in served_bags(args.repository))
    rows, stop = np.load(args.rows), threading.Event()
    with tempfile.TemporaryDirectory() as folder, serve(args.repository, state_dir=Path(folder) / "state") as server:
        asker = threading.Thread(target=ask, args=(server, bag, rows, args.rate, stop))
        target = server.metrics_url.removeprefix("http://").removesuffix("/metrics")
        with running_prometheus(target, Path(folder)) as prometheus:
            asker.start()
            try:
                time.sleep(60 * args.minutes)
                draw(prometheus.url, bag, args.minutes, args.output)
            finally:
                stop.set()
                asker.join()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
