"""Three small CNNs of different kinds, [rows, 1, 32, 32] float32 -> logits [rows, 10].

Different on purpose: members that err differently vote better, and exits have to fit all of them. Each is a chain of
stages with room for at least three cuts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

CLASSES = 10


class Plain(nn.Sequential):
    """Pairs of 3x3 convolutions between poolings, as in VGG."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        layers: list[nn.Module] = []
        before = 1
        for width in widths:
            layers += [_convolution(before, width), _convolution(width, width), nn.MaxPool2d(2)]
            before = width
        super().__init__(*layers, _convolution(before, before), _Classify(before))


class Residual(nn.Sequential):
    """Blocks that add to what passes through, as in ResNet."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96), blocks: int = 2) -> None:
        layers: list[nn.Module] = [_convolution(1, widths[0], stride=2)]
        before = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(_ResidualBlock(before, width, stride=2 if stage > 0 and block == 0 else 1))
                before = width
        super().__init__(*layers, _Classify(before))


class Mobile(nn.Sequential):
    """Inverted bottlenecks with depthwise 5x5 convolutions, as in MobileNetV2."""

    def __init__(self, widths: tuple[int, ...] = (16, 24, 40), blocks: int = 2, expansion: int = 4) -> None:
        layers: list[nn.Module] = [_convolution(1, widths[0], stride=2)]
        before = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(_Bottleneck(before, width, before * expansion, stride))
                before = width
        super().__init__(*layers, _convolution(before, 2 * before, kernel=1), _Classify(2 * before))


class _ResidualBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(before, width, stride=stride), _linear_convolution(width, width))
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else _linear_convolution(before, width, kernel=1, stride=stride)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(images) + self.shortcut(images))


class _Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, inside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(before, inside, kernel=1),
            _convolution(inside, inside, kernel=5, stride=stride, groups=inside),
            _linear_convolution(inside, width, kernel=1),
        )
        self.adds = before == width and stride == 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        body_output: torch.Tensor = self.body(images)
        return images + body_output if self.adds else body_output


class _Classify(nn.Sequential):
    """Global average pooling and one linear layer to logits."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def _linear_convolution(before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after))


def _convolution(before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(*_linear_convolution(before, after, kernel, stride, groups), nn.ReLU())


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"plain": Plain, "residual": Residual, "mobile": Mobile}
