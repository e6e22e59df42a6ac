"""Builds TensorRT engines on the host that will serve them: `python3 -m exeunt.serving.tensorrt REPOSITORY`.

Runs in the server's image, whose trtexec has the TensorRT version that will load the engines; `exeunt export --format
tensorrt` wrote the recipes. An engine takes its place only after its outputs agreed with the ONNX model's on real rows.
Needs numpy only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.errors import ConfigError, ExeuntError, ServingError
from exeunt.serving.bags import model_files

TRTEXEC = Path("/usr/src/tensorrt/bin/trtexec")
RECIPE_FILE, SAMPLE_FILE, PLAN_FILE, ONNX_FILE = "engine.json", "sample.npz", "model.plan", "model.onnx"
# relative, absolute: a float32 engine may reorder sums; a float16 one has three digits
TOLERANCES = {"float32": (1e-3, 1e-4), "float16": (2e-2, 2e-2)}
_FLAGS: dict[str, list[str]] = {"float32": ["--noTF32"], "float16": ["--fp16"]}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build one engine.

    Attributes:
        folder: the model's version folder.
        precision: a key of TOLERANCES.
        shapes: "min", "opt", "max" -> "INPUT:1x3x32x32,...", as trtexec takes them.
    """

    folder: Path
    precision: str
    shapes: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe.

        Raises:
            ConfigError: damaged.
        """
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            recipe = cls(
                path.parent, table["precision"], {which: table["shapes"][which] for which in ("min", "opt", "max")}
            )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: damaged recipe ({error!r}); export again") from None
        if recipe.precision not in TOLERANCES:
            raise ConfigError(f"{path}: precision {recipe.precision!r}; allowed: {', '.join(TOLERANCES)}")
        return recipe

    def is_built(self) -> bool:
        """True if the engine is there and younger than what it is built from."""
        plan = self.folder / PLAN_FILE
        sources = [self.folder / name for name in (RECIPE_FILE, ONNX_FILE)]
        return plan.exists() and all(plan.stat().st_mtime >= source.stat().st_mtime for source in sources)


def build(recipe: Recipe, trtexec: Path = TRTEXEC) -> float:
    """Build one engine, compare it, and put it in its place.

    Returns:
        the largest difference of an output from the ONNX model's, as a share of what is tolerated.

    Raises:
        ServingError: trtexec failed, or the outputs do not agree; the old engine, if any, stays.
    """
    fresh = recipe.folder / f".{PLAN_FILE}.{os.getpid()}"
    ranges = [f"--{which}Shapes={shapes}" for which, shapes in recipe.shapes.items()]
    line = [f"--onnx={recipe.folder / ONNX_FILE}", f"--saveEngine={fresh}", *ranges, *_FLAGS[recipe.precision]]
    try:
        _trtexec(trtexec, [*line, "--skipInference"], recipe)
        worst = compare(recipe, fresh, trtexec)
        fresh.replace(recipe.folder / PLAN_FILE)
    finally:
        fresh.unlink(missing_ok=True)
    return worst


def compare(recipe: Recipe, plan: Path, trtexec: Path = TRTEXEC) -> float:
    """Run an engine on the sample and compare its outputs.

    Returns:
        the largest difference as a share of what is tolerated; at most 1.

    Raises:
        ServingError: trtexec failed, an output is missing, or one differs by more.
    """
    with np.load(recipe.folder / SAMPLE_FILE, allow_pickle=False) as stored:
        inputs = {name[3:]: stored[name] for name in stored.files if name.startswith("in.")}
        expected = {name[4:]: stored[name] for name in stored.files if name.startswith("out.")}
    outputs = _outputs(recipe, plan, inputs, trtexec)
    relative, absolute = TOLERANCES[recipe.precision]
    worst = 0.0
    for name, reference in expected.items():
        if name not in outputs or outputs[name].size != reference.size:
            raise ServingError(f"{recipe.folder}: the engine has no output {name!r} of {reference.size} values")
        apart = np.abs(outputs[name].reshape(reference.shape) - reference) / (absolute + relative * np.abs(reference))
        share = float(apart.max()) if np.isfinite(apart).all() else float("inf")
        if share > 1:
            message = (
                f"{share:.1f} times the tolerance of {recipe.precision} ({relative:g} relative, {absolute:g} absolute)"
            )
            raise ServingError(f"{recipe.folder}: output {name!r} of the engine is off by {message}")
        worst = max(worst, share)
    return worst


def _outputs(recipe: Recipe, plan: Path, inputs: Mapping[str, np.ndarray], trtexec: Path) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory(prefix="exeunt-engine-") as folder:
        files = {name: Path(folder) / f"{number}.bin" for number, name in enumerate(inputs)}
        for name, array in inputs.items():
            files[name].write_bytes(np.ascontiguousarray(array).tobytes())
        shapes = ",".join(f"{name}:{'x'.join(map(str, array.shape))}" for name, array in inputs.items())
        line = [f"--loadEngine={plan}", f"--shapes={shapes}", "--iterations=1", "--warmUp=0", "--duration=0"]
        line += ["--loadInputs=" + ",".join(f"{name}:{file}" for name, file in files.items())]
        report = Path(folder) / "outputs.json"
        _trtexec(trtexec, [*line, f"--exportOutput={report}"], recipe)
        outputs: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))
        return {output["name"]: np.array(output["values"], dtype=np.float64) for output in outputs}


def _trtexec(trtexec: Path, line: Sequence[str], recipe: Recipe) -> None:
    try:
        ended = subprocess.run([str(trtexec), *line], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"{trtexec}: {error.strerror}; run this inside Triton's image") from None
    if ended.returncode:
        lines = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-10:])
        raise ServingError(f"{recipe.folder}: trtexec failed, status {ended.returncode}:\n{lines}")


def main(argv: list[str] | None = None) -> int:
    """Build every engine of a repository that is missing or old."""
    parser = argparse.ArgumentParser(prog="python3 -m exeunt.serving.tensorrt", description="Build TensorRT engines.")
    parser.add_argument("repository", type=Path, help="written by `exeunt export --format tensorrt`")
    parser.add_argument("--trtexec", type=Path, default=TRTEXEC, help=f"TensorRT's tool ({TRTEXEC})")
    parser.add_argument("--force", action="store_true", help="build all anew")
    args = parser.parse_args(argv)
    try:
        recipes = [Recipe.read(path) for path in model_files(args.repository, f"1/{RECIPE_FILE}")]
        if not recipes:
            print(f"{args.repository}: no engines asked for (no */1/{RECIPE_FILE})")
        for recipe in recipes:
            if recipe.is_built() and not args.force:
                print(f"{recipe.folder.parent.name}: there")
                continue
            share = build(recipe, args.trtexec)
            print(f"{recipe.folder.parent.name}: built, agrees ({share:.0%} of the tolerance)", flush=True)
    except ExeuntError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
