"""Nets that bring exits of their own: MSDNet in plain torch, and DeeBERT around the BERT of `transformers`.

Each gives a tuple of scores in depth order, the last ones at its end; `ends` holds the last layer before each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.architectures.attention import bert
from tests.architectures.cnn import conv


def unit(inside: int, out: int, stride: int = 1) -> nn.Module:
    """Convolution, normalisation, activation: MSDNet's order."""
    return nn.Sequential(conv(inside, out, 3, stride), nn.BatchNorm2d(out), nn.ReLU())


class Dense(nn.Module):
    """One layer at all scales that are left: each reads its own and the next finer one, and keeps what it read."""

    def __init__(self, channels: list[int], growth: list[int], dropped: bool) -> None:
        super().__init__()
        self.dropped = dropped  # the finest scale is read here for the last time
        scales = range(1 if dropped else 0, len(channels))
        self.same = nn.ModuleList(unit(channels[s], growth[s]) for s in scales)
        self.finer = nn.ModuleList(unit(channels[s - 1], growth[s], 2) for s in scales if s)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        first = 1 if self.dropped else 0
        outputs = []
        for number, scale in enumerate(range(first, len(maps))):
            parts = [maps[scale], self.same[number](maps[scale])]
            if scale:
                parts.append(self.finer[scale - 1 if not first else number](maps[scale - 1]))
            outputs.append(torch.cat(parts, 1))
        return outputs


class Msdnet(nn.Module):
    """Three scales, dense layers at each, a classifier on the coarsest after each block (Huang et al. 2018).

    The finest scale that is left ends with every block but the first, and channels are halved there, as in the paper.
    """

    def __init__(self, width: int, classes: int, blocks: int = 3, layers: int = 2) -> None:
        super().__init__()
        growth = [width, 2 * width, 4 * width]
        channels = list(growth)
        self.first = nn.ModuleList([unit(3, channels[0], 2), unit(channels[0], channels[1], 2)])
        self.first.append(unit(channels[1], channels[2], 2))
        self.blocks, self.halves, self.classifiers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for block in range(blocks):
            dense_layers = nn.ModuleList()
            for layer in range(layers):
                dropped = block > 0 and layer == 0
                dense_layers.append(Dense(channels, growth, dropped))
                read = list(zip(channels, growth, strict=True))
                channels = [old + (2 if s else 1) * new for s, (old, new) in enumerate(read)]
                channels, growth = (channels[1:], growth[1:]) if dropped else (channels, growth)
            self.blocks.append(dense_layers)
            self.classifiers.append(self._classifier(channels[-1], classes))
            last = block == blocks - 1
            self.halves.append(nn.ModuleList() if last else nn.ModuleList(conv(c, c // 2, 1) for c in channels))
            channels = [c // 2 for c in channels]
        self.ends = [classifier[-1] for classifier in self.classifiers]

    @staticmethod
    def _classifier(channels: int, classes: int) -> nn.Sequential:
        body = [unit(channels, channels, 2), unit(channels, channels, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*body, nn.Linear(channels, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        scales = []
        for layer in self.first:
            x = layer(x)
            scales.append(x)
        scores = []
        for block, halves, classifier in zip(self.blocks, self.halves, self.classifiers, strict=True):
            for layer in block:
                scales = layer(scales)
            scores.append(classifier(scales[-1]))
            scales = [half(scale) for half, scale in zip(halves, scales, strict=False)]
        return tuple(scores)


class Deebert(nn.Module):
    """BERT with a ramp after each layer but the last: pooler and classifier on the first token (Xin et al. 2020)."""

    def __init__(self, classes: int, width: int = 32, layers: int = 4) -> None:
        super().__init__()
        self.inner = bert(classes, width, layers).inner
        self.ramps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, classes))
            for _ in range(layers - 1)
        )
        self.ends = [*(ramp[-1] for ramp in self.ramps), self.inner.classifier]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        outputs = self.inner(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        between = outputs.hidden_states[1:-1]
        return (*(ramp(item[:, 0]) for ramp, item in zip(self.ramps, between, strict=True)), outputs.logits)
