"""VGG-16, ResNet-18 and -50, DenseNet-121: the papers' layers, at the width and resolution that a test can pay for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv(inside: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)


def vgg16(width: int, classes: int) -> nn.Module:
    """Thirteen convolutions with biases in five stages, three linear layers (Simonyan and Zisserman 2014, D)."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, repeats in enumerate((2, 2, 3, 3, 3)):
        for _ in range(repeats):
            out = width * min(2**stage, 8)
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
            channels = out
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(channels, 8 * width), nn.ReLU(), nn.Dropout(), nn.Linear(8 * width, 8 * width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Dropout(), nn.Linear(8 * width, classes))


class Basic(nn.Module):
    """Two 3x3 convolutions and a skip."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inside, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU(), conv(width, width), nn.BatchNorm2d(width)
        )
        self.skip = shortcut(inside, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a skip."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * self.expansion
        self.body = nn.Sequential(
            *(conv(inside, width, 1), nn.BatchNorm2d(width), nn.ReLU()),
            *(conv(width, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU()),
            *(conv(width, out, 1), nn.BatchNorm2d(out)),
        )
        self.skip = shortcut(inside, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


def shortcut(inside: int, out: int, stride: int) -> nn.Module:
    if inside == out and stride == 1:
        return nn.Identity()
    return nn.Sequential(conv(inside, out, 1, stride), nn.BatchNorm2d(out))


def resnet(block: type[Basic] | type[Bottleneck], repeats: Sequence[int], width: int, classes: int) -> nn.Module:
    """He et al. 2015: 7x7 stem, max pooling, four stages."""
    layers: list[nn.Module] = [conv(3, width, 7, 2), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, count in enumerate(repeats):
        for number in range(count):
            layers.append(block(channels, width << stage, 2 if stage and not number else 1))
            channels = (width << stage) * block.expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Dense(nn.Module):
    """One layer of a dense block: everything before it is read, a little is added."""

    def __init__(self, inside: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(inside), nn.ReLU(), conv(inside, 4 * growth, 1)),
            *(nn.BatchNorm2d(4 * growth), nn.ReLU(), conv(4 * growth, growth)),
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [*maps, self.body(torch.cat(maps, 1))]


class DenseBlock(nn.Module):
    """As torchvision writes it: a growing list that each layer concatenates anew."""

    def __init__(self, inside: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Dense(inside + number * growth, growth) for number in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps = layer(maps)
        return torch.cat(maps, 1)


def densenet121(growth: int, classes: int) -> nn.Module:
    """Huang et al. 2016: blocks of 6, 12, 24 and 16 layers with transitions that halve the channels."""
    channels = 2 * growth
    layers: list[nn.Module] = [conv(3, channels, 7, 2), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for number, repeats in enumerate((6, 12, 24, 16)):
        layers.append(DenseBlock(channels, growth, repeats))
        channels += repeats * growth
        if number < 3:
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(
        *layers,
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, classes),
    )
