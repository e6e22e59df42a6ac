"""Send a bag and its plain ensemble the same Poisson stream in turns, and print and draw what came of it.

exeunt demo                                                   # leaves a repository and test images in runs/demo
exeunt serve runs/demo/model_repository --grpc-port 8001
python examples/load.py grpc://127.0.0.1:8001 digits runs/demo/test.npy load.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from exeunt.contract import full_model
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import Traffic, run_load
from exeunt.measuring.plots import Course, run_picture
from exeunt.measuring.summary import stream_labels, summarise
from exeunt.measuring.tables import exits_table, latency_table
from exeunt_client import Client

RATE_PER_S = 25.0


def main(url: str, bag: str, images: np.ndarray, picture: Path) -> None:
    """Run the stream; 600 requests at most."""
    with Client(url, bag) as client:
        name = client.signature.inputs[0].name
    rows = min(600, len(images))
    models = [bag, full_model(bag)]
    blocks = take_turns(models, poisson(RATE_PER_S, rows, seed=0), block_s=2.0)
    run = run_load(url, Traffic({name: images[:rows]}), blocks)
    full = stream_labels(run.outcomes[models[1]])
    summaries = [summarise(run, model, full=full) for model in models]
    console = Console()
    console.print(latency_table(summaries), exits_table({summary.model: summary for summary in summaries}))
    run_picture(run, {bag: Course.of(run.outcomes[bag], full)}, picture, f"{RATE_PER_S:g} requests/s", max_loss=0.01)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], np.load(sys.argv[3]), Path(sys.argv[4]))
