"""MobileNetV2, EfficientNet-B0 and a NASNet-Mobile-like cell network, small."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.architectures.cnn import conv

# expansion, channels, repeats, stride, kernel: the papers' tables
_MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_EFFICIENT = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)


def unit(inside: int, out: int, kernel: int, stride: int, groups: int, act: type[nn.Module]) -> list[nn.Module]:
    return [conv(inside, out, kernel, stride, groups), nn.BatchNorm2d(out), act()]


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2017)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.SiLU()),
            *(nn.Conv2d(inner, channels, 1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Inverted(nn.Module):
    """Inverted residual: expand, depthwise, (squeeze,) project."""

    def __init__(
        self, inside: int, out: int, stride: int, expansion: int, kernel: int, act: type[nn.Module], squeeze: bool
    ) -> None:
        super().__init__()
        inner = inside * expansion
        layers = unit(inside, inner, 1, 1, 1, act) if expansion > 1 else []
        layers += unit(inner, inner, kernel, stride, inner, act)
        layers += [Squeeze(inner, max(1, inside // 4))] if squeeze else []
        self.body = nn.Sequential(*layers, conv(inner, out, 1), nn.BatchNorm2d(out))
        self.skips = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skips else self.body(x)


def _inverted_net(rows: list[tuple[int, ...]], act: type[nn.Module], squeeze: bool, classes: int) -> nn.Module:
    layers = unit(3, rows[0][1] * 2, 3, 2, 1, act)
    channels = rows[0][1] * 2
    for expansion, out, repeats, stride, kernel in rows:
        for number in range(repeats):
            layers.append(Inverted(channels, out, 1 if number else stride, expansion, kernel, act, squeeze))
            channels = out
    layers += unit(channels, 4 * channels, 1, 1, 1, act)
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * channels, classes)
    )


def mobilenet_v2(divisor: int, classes: int) -> nn.Module:
    """Sandler et al. 2018; channels divided by `divisor`."""
    return _inverted_net([(e, c // divisor, n, s, 3) for e, c, n, s in _MOBILE], nn.ReLU6, False, classes)


def efficientnet_b0(divisor: int, classes: int) -> nn.Module:
    """Tan and Le 2019; channels divided by `divisor`."""
    return _inverted_net([(e, c // divisor, n, s, k) for e, c, n, s, k in _EFFICIENT], nn.SiLU, True, classes)


class Separable(nn.Module):
    """relu, separable convolution, normalisation: twice."""

    def __init__(self, inside: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.ReLU(), conv(inside, inside, kernel, stride, inside), conv(inside, out, 1), nn.BatchNorm2d(out)),
            *(nn.ReLU(), conv(out, out, kernel, 1, out), conv(out, out, 1), nn.BatchNorm2d(out)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Fit(nn.Module):
    """Brings a cell's input to the cell's channels and size."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.ReLU(), conv(inside, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Cell(nn.Module):
    """A NASNet-A cell, normal or reducing: five pairs of branches over the two cells before it, concatenated."""

    def __init__(self, before: int, last: int, width: int, stride: int, apart: int) -> None:
        super().__init__()
        self.before, self.last = Fit(before, width, apart), Fit(last, width, 1)
        self.five_a, self.three_a = Separable(width, width, 5, stride), Separable(width, width, 3, stride)
        self.five_b, self.three_b = Separable(width, width, 5, stride), Separable(width, width, 3, stride)
        self.mean = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        self.most = nn.MaxPool2d(3, stride, 1)
        self.three_c = Separable(width, width, 3, 1)

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        p, h = self.before(before), self.last(last)
        one = self.five_a(h) + self.three_a(p)
        two = self.five_b(p) + self.three_b(p)
        three = self.mean(h) + self.most(p)
        four = self.mean(p) + self.mean(p)
        return torch.cat([one, two, three, four, self.three_c(one) + self.mean(h)], 1)


class NasNet(nn.Module):
    """Zoph et al. 2017, mobile: a stem and three stacks of normal cells with a reduction between them.

    The reduction cells are simplified: the same branches as the normal ones, with stride.
    """

    def __init__(self, width: int, repeats: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, width, 3, 2), nn.BatchNorm2d(width))
        cells, before, last, apart = [], width, width, 1
        for stack in range(3):
            for number in range(repeats + (stack > 0)):
                stride = 2 if stack and not number else 1
                cells.append(Cell(before, last, width << stack, stride, apart))
                before, last, apart = last, 5 * (width << stack), stride
        self.cells = nn.ModuleList(cells)
        self.head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        return self.head(last)
