"""Tiny bags for everybody's tests: small untrained CNNs, exported in about two seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.export.graphs import noise_rows, residual_net

CLASSES, SIDE, ROWS = 8, 16, 240


def tiny_bag(
    tmp_path: Path,
    *,
    mode: str = "ensemble",
    members: int = 3,
    seed: int = 0,
    exit_table: str = "",
    cuts: str = "",
    schedule: str = "parallel",
    stream: bool = False,
) -> Path:
    """A bag file with everything it names, ready for `export_bag`.

    Args:
        tmp_path: folder to write to.
        mode: "ensemble" or "engine".
        members: how many, at least 1.
        seed: of weights and samples.
        exit_table: lines for the [exit] table.
        cuts: further lines for the [cuts] table.
        schedule: of the exits.
        stream: with the model that sends rows as they leave.

    Returns:
        path of the bag file; the bag is named "tiny", its members "a", "b", ..., its one input IMAGE [1, 16, 16].
    """
    np.save(tmp_path / "samples.npy", noise_rows(ROWS, seed, SIDE))
    lines = [
        'name = "tiny"',
        f'mode = "{mode}"',
        'samples = "samples.npy"',
        f"seed = {seed}",
        f'schedule = "{schedule}"',
    ]
    for number in range(members):
        name = "abcdefgh"[number]
        residual_net(tmp_path / f"{name}.onnx", number, seed, CLASSES, SIDE)
        lines += ["[[member]]", f'name = "{name}"', f'file = "{name}.onnx"', f"weight = {1.0 + 0.25 * number}"]
    # nets this small cannot keep 2 %: starting the heads alone costs more than that
    lines += [
        "[cuts]",
        "ramp_budget = 10",
        'times = "counted"',
        cuts,
        "[serving]",
        "max_batch_size = 16",
        f"stream = {str(stream).lower()}",
        "[exit]",
        exit_table,
        "max_wait_ms = 60000.0",  # nobody is refused because the machine that tests is busy
        *([] if "gear" in exit_table else ['gear = "exits"']),  # nets this small would soon be asked plainly
    ]
    path = tmp_path / "bag.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
