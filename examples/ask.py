"""Ask a served bag, blocking and from a coroutine.

exeunt demo                                                   # leaves a repository and test images in runs/demo
exeunt serve runs/demo/model_repository --grpc-port 8001
python examples/ask.py grpc://127.0.0.1:8001 digits runs/demo/test.npy
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from exeunt_client import AsyncClient, Client, RequestOptions


def ask_once(url: str, model: str, images: np.ndarray) -> None:
    """One row, one batch, and what a caller may wish for."""
    with Client(url, model) as client:
        answer = client.ask(images[0])
        print(
            f"one row:  {answer.label_name}, left at exit {answer.exit} ({answer.reason.name}), risk {answer.risk:.4f}"
        )
        full = client.infer(images[:4], RequestOptions(exit="never"))
        print(f"full vote of four: {[answer_.label_name for answer_ in full]}")
        careful = client.infer(images[:4], RequestOptions(max_risk=0.001, deadline_ms=1000))
        print(f"careful:  exits {careful.exits.tolist()}, risks {careful.risks.round(4).tolist()}")


async def ask_at_once(url: str, model: str, images: np.ndarray) -> None:
    """Many rows at once; each leaves at its own exit, so answers overtake each other."""
    order: list[int] = []

    async def ask(client: AsyncClient, row: int) -> None:
        await client.ask(images[row])
        order.append(row)

    async with AsyncClient(url, model) as client:
        await asyncio.gather(*(ask(client, row) for row in range(8)))
    print(f"answered in the order {order}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    images = np.load(sys.argv[3])
    ask_once(sys.argv[1], sys.argv[2], images)
    asyncio.run(ask_at_once(sys.argv[1], sys.argv[2], images))
