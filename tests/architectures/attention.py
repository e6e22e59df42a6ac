"""ConvNeXt-Tiny and ViT-B/16 in plain torch; BERT, DistilBERT and GPT-2 from `transformers`, tiny random configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

PAD = 0  # token id
VOCABULARY, TOKENS = 60, 12


class ChannelsLastBlock(nn.Module):
    """Depthwise 7x7, then layer norm and an MLP over channels that stand last; scaled skip (Liu et al. 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.mlp = nn.Sequential(
            *(nn.LayerNorm(channels, eps=1e-6), nn.Linear(channels, 4 * channels), nn.GELU()),
            nn.Linear(4 * channels, channels),
        )
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.mlp(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Norm2d(nn.LayerNorm):
    """Layer norm over the channels of an NCHW tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext_tiny(width: int, classes: int) -> nn.Module:
    """Stages of 3, 3, 9 and 3 blocks, as in the paper."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 4), Norm2d(width, eps=1e-6)]
    for stage, repeats in enumerate((3, 3, 9, 3)):
        channels = width << stage
        if stage:
            layers += [Norm2d(channels // 2, eps=1e-6), nn.Conv2d(channels // 2, channels, 2, 2)]
        layers += [ChannelsLastBlock(channels) for _ in range(repeats)]
    last = 8 * width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), Norm2d(last, eps=1e-6), nn.Flatten(), nn.Linear(last, classes)
    )


class Attention(nn.Module):
    """A pre-norm encoder block (Dosovitskiy et al. 2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(width, eps=1e-6), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, width = x.shape
        split = self.qkv(self.norm(x)).reshape(rows, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, tokens, width))
        return x + self.mlp(x)


class ViT(nn.Module):
    """Twelve blocks over patches, a class token and learned positions."""

    def __init__(self, width: int, side: int, patch: int, classes: int, blocks: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.first = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(Attention(width, 4) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Classifier(nn.Module):
    """A sequence classifier of `transformers` that takes ids and mask, and gives logits only."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.inner(input_ids=input_ids, attention_mask=attention_mask).logits


def _transformer(kind: str, classes: int, **sizes: Any) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=VOCABULARY, num_labels=classes, pad_token_id=PAD, initializer_range=0.2, **sizes
    )
    return Classifier(getattr(transformers, f"{kind}ForSequenceClassification")(config))


def bert(classes: int, width: int = 32, layers: int = 12) -> nn.Module:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "max_position_embeddings": 2 * TOKENS}
    return _transformer("Bert", classes, num_hidden_layers=layers, num_attention_heads=4, **sizes)


def distilbert(classes: int, width: int = 32) -> nn.Module:
    sizes = {"dim": width, "hidden_dim": 4 * width, "max_position_embeddings": 2 * TOKENS}
    return _transformer("DistilBert", classes, n_layers=6, n_heads=4, **sizes)


def gpt2(classes: int, width: int = 32) -> nn.Module:
    sizes = {"n_embd": width, "n_positions": 2 * TOKENS, "bos_token_id": 1, "eos_token_id": 1}
    return _transformer("GPT2", classes, n_layer=12, n_head=4, **sizes)


TRANSFORMERS: dict[str, Callable[[int], nn.Module]] = {"bert": bert, "distilbert": distilbert, "gpt2": gpt2}
