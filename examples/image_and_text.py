"""A bag of an image member and a text member: goods sorted by their picture and their description.

Both members vote on the same four classes, but take different inputs: IMAGE (bytes) goes to the one, TOKENS and MASK go
to the other. The bag file names the public inputs and says which input of a member each of them is.

python examples/image_and_text.py runs/goods
exeunt serve runs/goods/model_repository --grpc-port 8001
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from exeunt_export.export_bag import export_bag
from exeunt_export.torch_modules import save_module

CLASSES, SIDE, WORDS, LENGTH = 4, 16, 40, 12
BAG = """
name = "goods"
labels = ["shoe", "shirt", "lamp", "chair"]
samples = "samples.npz"
mode = "engine"
inputs = ["IMAGE", "TOKENS", "MASK"]        # what clients send, in this order

[[member]]
name = "picture"
file = "picture.onnx"
preprocess = "scale.onnx"                   # bytes to -1..1, inside the server; its input is IMAGE

[[member]]
name = "description"
file = "description.onnx"
inputs = { input_ids = "TOKENS", attention_mask = "MASK" }

[cuts]
exits = 2
ramp_budget = 10                            # members this small cannot keep 2 %

[serving]
max_batch_size = 8
"""


class Scale(nn.Module):
    """Bytes [rows, 1, side, side] to -1..1."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Float32 of the same shape."""
        return image.to(torch.float32) / 127.5 - 1.0


class Picture(nn.Module):
    """A small CNN: scores [rows, classes] of float32 [rows, 1, side, side]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 8), (8, 16), (16, 16)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, CLASSES))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        return self.layers(pixels)


class Description(nn.Module):
    """Words through three residual layers, then the mean over those that the mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 24)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 24)) for _ in range(3))
        self.head = nn.Linear(24, CLASSES)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Class scores [rows, classes] of int64 [rows, length] twice."""
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + layer(x)
        word_weights = mask.to(x.dtype).unsqueeze(-1)
        return self.head((x * word_weights).sum(1) / word_weights.sum(1).clamp(min=1.0))


def goods(rows: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Made-up goods: what clients send, and the class, int64 [rows]."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, rows)
    patterns = np.random.default_rng(1).normal(size=(CLASSES, 1, SIDE, SIDE))
    image = 127.5 + 40 * patterns[label] + 60 * rng.normal(size=(rows, 1, SIDE, SIDE))
    typical_words = label[:, None] * 10 + rng.integers(0, 10, (rows, LENGTH))  # ten words are typical of each class
    tokens = np.where(rng.random((rows, LENGTH)) < 0.4, typical_words, rng.integers(0, WORDS, (rows, LENGTH)))
    mask = np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (rows, 1))
    table = {"IMAGE": image.clip(0, 255).astype(np.uint8), "TOKENS": tokens * mask, "MASK": mask.astype(np.int64)}
    return table, label


def train(member: nn.Module, inputs: list[np.ndarray], label: np.ndarray, steps: int = 150) -> None:
    """Cross-entropy on the truth; a second or two."""
    tensors, target = [torch.from_numpy(input_) for input_ in inputs], torch.from_numpy(label)
    optimiser = torch.optim.Adam(member.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(member(*tensors), target).backward()
        optimiser.step()


def write_bag(folder: Path, steps: int = 150) -> Path:
    """Train both members and write everything that the bag file names; its path."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    inputs, label = goods(400, seed=2)
    scaled = inputs["IMAGE"].astype(np.float32) / np.float32(127.5) - 1
    picture, description = Picture(), Description()
    train(picture, [scaled], label, steps)
    train(description, [inputs["TOKENS"], inputs["MASK"]], label, steps)
    save_module(Scale(), {"IMAGE": inputs["IMAGE"]}, folder / "scale.onnx")
    save_module(picture, {"pixels": scaled}, folder / "picture.onnx")
    words = {"input_ids": inputs["TOKENS"], "attention_mask": inputs["MASK"]}
    save_module(description, words, folder / "description.onnx")
    samples, _ = goods(400, seed=3)  # without labels, and not what the members were trained on
    np.savez(folder / "samples.npz", **samples)
    (folder / "bag.toml").write_text(BAG, encoding="utf-8")
    return folder / "bag.toml"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    bag = write_bag(Path(sys.argv[1]))
    print(export_bag(bag, Path(sys.argv[1]) / "model_repository", force=True).summary())
