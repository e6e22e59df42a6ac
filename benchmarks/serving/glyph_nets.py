"""Members of the serving benchmark's bag: three kinds of CNN, together at least 30 ms of single-core work per input.

Input float32 [rows, 1, SIDE_PX, SIDE_PX] (fully convolutional, so training may begin on smaller images), output logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

SIDE_PX = 120


class Mobile(nn.Sequential):
    """Inverted bottlenecks with linear ends, as in MobileNetV2 (Sandler et al. 2018)."""

    # expansion, channels, blocks, stride of the first block
    STAGES = ((1, 32, 1, 1), (4, 56, 2, 2), (4, 112, 3, 2), (4, 168, 3, 1), (4, 256, 2, 2))

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = [_convolution(1, 32, stride=2, act=nn.ReLU6)]
        before = 32
        for expansion, width, blocks, stride in self.STAGES:
            for block in range(blocks):
                layers.append(Bottleneck(before, width, expansion, 3, stride if block == 0 else 1, nn.ReLU6, False))
                before = width
        super().__init__(*layers, _convolution(before, 512, kernel=1, act=nn.ReLU6), Classify(512, classes))


class Efficient(nn.Sequential):
    """Bottlenecks with squeeze and excitation and 5x5 depthwise kernels, as in EfficientNet (Tan and Le 2019)."""

    # expansion, channels, blocks, stride of the first block, kernel
    STAGES = ((1, 24, 1, 1, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 128, 2, 1, 5), (6, 192, 2, 2, 5))

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = [_convolution(1, 32, stride=2, act=nn.SiLU)]
        before = 32
        for expansion, width, blocks, stride, kernel in self.STAGES:
            for block in range(blocks):
                step = stride if block == 0 else 1
                layers.append(Bottleneck(before, width, expansion, kernel, step, nn.SiLU, True))
                before = width
        super().__init__(*layers, _convolution(before, 512, kernel=1, act=nn.SiLU), Classify(512, classes))


class Residual(nn.Sequential):
    """Basic blocks, as in ResNet (He et al. 2016)."""

    WIDTHS = (48, 96, 192, 320)

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = [_convolution(1, self.WIDTHS[0], stride=2)]
        before = self.WIDTHS[0]
        for stage, width in enumerate(self.WIDTHS):
            for block in range(2):
                layers.append(BasicBlock(before, width, 2 if stage > 0 and block == 0 else 1))
                before = width
        super().__init__(*layers, Classify(before, classes))


class Bottleneck(nn.Module):
    """Expand, filter each channel, project; adds its input where shapes allow."""

    def __init__(
        self,
        before: int,
        after: int,
        expansion: int,
        kernel: int,
        stride: int,
        act: Callable[[], nn.Module],
        squeezes: bool,
    ) -> None:
        super().__init__()
        inside = before * expansion
        layers: list[nn.Module] = [_convolution(before, inside, kernel=1, act=act)] if expansion > 1 else []
        layers.append(_convolution(inside, inside, kernel, stride, groups=inside, act=act))
        if squeezes:
            layers.append(SqueezeExcite(inside, max(4, before // 4)))
        self.body = nn.Sequential(*layers, nn.Conv2d(inside, after, 1, bias=False), nn.BatchNorm2d(after))
        self.adds = before == after and stride == 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map [rows, before, height, width] to [rows, after, ...]."""
        body_output: torch.Tensor = self.body(images)
        return images + body_output if self.adds else body_output


class SqueezeExcite(nn.Module):
    """Weigh the channels by what all of them hold on average."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.SiLU(), nn.Conv2d(squeezed, channels, 1)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        return images * torch.sigmoid(self.weigh(images))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        last = nn.Sequential(nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after))
        self.body = nn.Sequential(_convolution(before, after, stride=stride), last)
        through = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut = nn.Identity() if before == after and stride == 1 else through

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map [rows, before, height, width] to [rows, after, ...]."""
        return torch.relu(self.body(images) + self.shortcut(images))


class Classify(nn.Sequential):
    """Global average pooling and one linear layer to logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels, classes))


def _convolution(
    before: int,
    after: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    act: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), act())


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "mobile": Mobile,
    "efficient": Efficient,
    "residual": Residual,
}
