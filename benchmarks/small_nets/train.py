"""Train a bag of small CNNs: one bootstrap sample per member (Breiman's bagging), noise and shifts as augmentation."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.small_nets import architectures
from exeunt.demo import data
from exeunt.demo.data import TRAINED_NOISE, DigitsPart

EPOCHS = 20
BATCH_ROWS = 32
PEAK_RATE = 6e-3
SHIFT_PX = 2
Progress = Callable[[str, int, int], None]  # member, epochs done, epochs in all


def trained_bag(
    part: DigitsPart, cache: Path, seed: int, progress: Progress = lambda *step: None
) -> dict[str, nn.Module]:
    """The bag's members, from the cache where they are there; the others are trained side by side, one core each.

    Args:
        part: images to train on.
        cache: folder of trained weights; keyed by seed, code and images, so a change trains anew.
        seed: of bootstrap samples, weights and augmentation.
        progress: called after each epoch, from the thread that trains.

    Returns:
        member name -> module in evaluation mode, float32 [rows, 1, 32, 32] -> logits [rows, 10].
    """
    cache.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()

    def trained(name: str, module: nn.Module, seed: int) -> nn.Module:
        path = cache / f"{name}-{_key(part, seed)}.pt"
        if path.exists():
            module.load_state_dict(torch.load(path, weights_only=True))
            progress(name, EPOCHS, EPOCHS)
            return module.eval()
        train(module, data.bootstrap(part, seed), seed, lambda *counts: progress(name, *counts), stop)
        if not stop.is_set():
            partial = path.with_suffix(f".{os.getpid()}")
            torch.save(module.state_dict(), partial)
            partial.replace(path)  # whole or not at all
        return module

    modules = {}
    for number, (name, architecture) in enumerate(architectures.ARCHITECTURES.items()):
        torch.manual_seed(seed + number)
        modules[name] = architecture()
    with _single_threaded(), ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            jobs = [pool.submit(trained, *job_, seed + number) for number, job_ in enumerate(modules.items())]
            return dict(zip(modules, [job.result() for job in jobs], strict=True))
        finally:
            stop.set()  # after Ctrl-C the others end with their step


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Small convolutions gain nothing from torch's own threads, and members train side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(
    module: nn.Module,
    part: DigitsPart,
    seed: int,
    progress: Callable[[int, int], None] = lambda *counts: None,
    stop: threading.Event | None = None,
) -> None:
    """Train `module` in place on `part`, until done or until `stop` is set.

    Draws from no generator but its own, so members may train side by side.
    """
    chance = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    steps = len(part) // BATCH_ROWS
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=EPOCHS * steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    # half the time of the default layout here; torch's stubs do not know the argument
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for epoch in range(EPOCHS):
        order = torch.randperm(len(part), generator=chance)
        for batch in order[: steps * BATCH_ROWS].split(BATCH_ROWS):
            if stop is not None and stop.is_set():
                return
            optimizer.zero_grad()
            batch_images = _augmented(images[batch], chance).to(memory_format=torch.channels_last)
            loss_of(module(batch_images), labels[batch]).backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, EPOCHS)
    module.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def probabilities(module: nn.Module, images: np.ndarray, batch_rows: int = 256) -> np.ndarray:
    """Class probabilities of a member; float32 [rows, 10] from float32 [rows, 1, 32, 32]."""
    with torch.inference_mode():
        parts = [module(part).softmax(dim=1) for part in torch.from_numpy(images).split(batch_rows)]
    return torch.cat(parts).numpy()


def _augmented(images: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Each batch shifted by up to SHIFT_PX, each image under noise of its own strength, half of it weak."""
    down, right = (int(torch.randint(-SHIFT_PX, SHIFT_PX + 1, (1,), generator=chance)) for _ in range(2))
    shifted = torch.roll(images, (down, right), dims=(2, 3))
    strength = TRAINED_NOISE * torch.rand((len(images), 1, 1, 1), generator=chance) ** 2
    return shifted + strength * torch.randn(images.shape, generator=chance)


def _key(part: DigitsPart, seed: int) -> str:
    parts = [seed, EPOCHS, BATCH_ROWS, PEAK_RATE, inspect.getsource(architectures), inspect.getsource(data.with_noise)]
    parts += [inspect.getsource(train), inspect.getsource(_augmented), part.images.shape, part.labels.tolist()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
