"""Ask the served bag of the demo what files are.

    python examples/file_type.py FILE [FILE ...]

Needs a server: exeunt serve runs/demo/model_repository --grpc-port 8001
"""

import sys
from pathlib import Path

import numpy as np

from exeunt.demo.filetypes.corpus import encode
from exeunt_client import Client


def main(paths: list[str]) -> None:
    """Print the type of each file, the exit that answered, and why it left there."""
    rows = np.stack([encode(Path(path).read_bytes()) for path in paths])
    with Client("grpc://127.0.0.1:8001", "filetypes") as client:
        for path, answer in zip(paths, client.infer(rows), strict=True):
            print(f"{path}: {answer.label_name}  (exit {answer.exit}, {answer.reason.name.lower()})")


if __name__ == "__main__":
    main(sys.argv[1:] or [__file__])
