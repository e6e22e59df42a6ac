"""Three releases of Smart Turn asked whether a speaker has finished: recorded speech, half cut off, under noise."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.serving.bench_bag import BenchBag, BenchStream, Material, Say
from benchmarks.serving.fetching import fetch_debian, fetch_wheel

ABOUT = (
    "Smart Turn 3.0, 3.1 and 3.2 (Daily, BSD-2, 8-bit models as pipecat-ai 0.0.90, 0.0.98 and 1.14.0 carry them) say "
    "whether a speaker has finished. Recorded prompts of asterisk-core-sounds-en-wav (Allison Smith, CC-BY-SA-3.0); "
    "half of the questions are cut off at 30 to 80 % of the prompt; white noise drifts along the stream. Samples and "
    "stream share no prompt."
)
SPEECH = "asterisk-core-sounds-en-wav"
WHEELS = {  # member -> wheel, SHA-256
    "v3_0": (
        "pipecat_ai-0.0.90-py3-none-any.whl",
        "88f54e969ba24d19aeec5b3fb776249fa4d4e11e55875946ae4436cc60880a9c",
    ),
    "v3_1": (
        "pipecat_ai-0.0.98-py3-none-any.whl",
        "8d91ce3550a310451262542a0794ff06fa5fa17ada67fe7e34fc714062440a87",
    ),
    "v3_2": (
        "pipecat_ai-1.14.0-py3-none-any.whl",
        "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
    ),
}
DATA = "pipecat/audio/turn/smart_turn/"
RATE_HZ, SECONDS = 16_000, 8
SHORTEST_S = 1.2  # prompts below are single words
PAUSE_S = 0.2  # after the last sample, as a voice detector leaves it
NOISE = 0.05  # standard deviation at difficulty 1, in full scale
DRIFT = (0.0, 0.7, 0.2, 1.0, 0.1)
SAMPLE_ROWS = 600
Features = Callable[[np.ndarray], np.ndarray]  # float32 [samples] -> float32 [80, 800]


def prepare(folder: Path, cache: Path, say: Say) -> Material:
    """Fetch models and speech, make the samples."""
    wheels = {name: fetch_wheel(cache / "speech", *wheel_pin, say) for name, wheel_pin in WHEELS.items()}
    members = {name: _model(wheel, folder / f"{name}.onnx") for name, wheel in wheels.items()}
    features = _features(wheels["v3_2"], folder)
    prompts = _prompts(fetch_debian(cache / "speech", SPEECH, say))
    order = np.random.default_rng(0).permutation(len(prompts))
    bases = [prompts[k] for k in order[: int(0.6 * len(order))]]
    others = [prompts[k] for k in order[int(0.6 * len(order)) :]]
    say(f"{len(bases)} prompts to calibrate, {len(others)} others to ask about")
    hard = np.random.default_rng(7).uniform(0.0, 1.0, SAMPLE_ROWS)

    def stream(rows: int, seed: int) -> BenchStream:
        difficulty = np.interp(np.linspace(0, 1, rows), np.linspace(0, 1, len(DRIFT)), DRIFT).astype(np.float32)
        inputs, truth = turns(others, difficulty, seed, features)
        return BenchStream(inputs, difficulty, truth)

    return Material(members, turns(bases, hard, 7, features)[0], ("goes on", "has finished"), stream)


def turns(
    prompts: list[np.ndarray], difficulty: np.ndarray, seed: int, features: Features
) -> tuple[np.ndarray, np.ndarray]:
    """Prompts, whole or cut off, under noise.

    Args:
        prompts: float32 [samples] at RATE_HZ, -1..1; each comes once before any comes again.
        difficulty: float [rows], 0..1; the noise's deviation is NOISE of it.
        seed: of everything.
        features: what the models see of the last SECONDS.

    Returns:
        float32 [rows, 80, 800], and int64 [rows]: 1 where the prompt is whole.
    """
    rng = np.random.default_rng(seed)
    rows = len(difficulty)
    order = np.concatenate([rng.permutation(len(prompts)) for _ in range(-(-rows // len(prompts)))])[:rows]
    whole = rng.random(rows) < 0.5
    windows = []
    for place, hard, complete in zip(order.tolist(), difficulty.tolist(), whole.tolist(), strict=True):
        speech = prompts[place]
        if not complete:
            speech = speech[: int(len(speech) * rng.uniform(0.3, 0.8))]
        window = np.zeros(RATE_HZ * SECONDS, dtype=np.float32)
        tail = np.concatenate([speech, np.zeros(int(PAUSE_S * RATE_HZ), np.float32)])[-len(window) :]
        window[-len(tail) :] = tail
        window += NOISE * hard * rng.standard_normal(len(window), dtype=np.float32)
        windows.append(features(window))
    return np.stack(windows), whole.astype(np.int64)


def _model(wheel: Path, path: Path) -> Path:
    """The wheel's ONNX file, at `path`."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.startswith(DATA) and name.endswith(".onnx")]
        path.write_bytes(archive.read(name))
    return path


def _features(wheel: Path, folder: Path) -> Features:
    """Smart Turn's own features: a module of numpy alone, read out of the pinned wheel."""
    path = folder / "whisper_features.py"
    with zipfile.ZipFile(wheel) as archive:
        path.write_bytes(archive.read(f"{DATA}_whisper_features.py"))
    spec = importlib.util.spec_from_file_location("whisper_features", path)
    assert spec is not None and spec.loader is not None  # a .py file always has a loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    compute: Features = module.compute_whisper_log_mel_features
    return compute


def _prompts(package: Path) -> list[np.ndarray]:
    """Prompts of SHORTEST_S to SECONDS, float32 at RATE_HZ (from 8 kHz by linear interpolation)."""
    tar_bytes = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True).stdout
    prompts = []
    with tarfile.open(fileobj=io.BytesIO(tar_bytes)) as archive:
        for entry in sorted(archive.getmembers(), key=lambda entry: entry.name):
            file = archive.extractfile(entry) if entry.isfile() and entry.name.endswith(".wav") else None
            if file is None:
                continue
            with wave.open(io.BytesIO(file.read())) as sound:
                rate_hz, frames = sound.getframerate(), sound.readframes(sound.getnframes())
            speech = np.frombuffer(frames, dtype="<i2").astype(np.float32) / 32768.0
            if SHORTEST_S <= len(speech) / rate_hz <= SECONDS - PAUSE_S:
                moments = np.arange(int(len(speech) * RATE_HZ / rate_hz)) * rate_hz / RATE_HZ
                prompts.append(np.interp(moments, np.arange(len(speech)), speech).astype(np.float32))
    return prompts


BAG = BenchBag("speech", ABOUT, prepare)
