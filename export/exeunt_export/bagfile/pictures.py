"""Samples as a folder of images: decoded, resized and scaled to what members take.

    [images.IMAGE]                 # one table per public input; the images are the same for all
    size = [224, 224]              # height, width
    normalise = "imagenet"

The array lies in a file without a name, mapped into memory, so that many images need little of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.errors import ConfigError, check_known
from exeunt_export.mapped import mapped_zeros

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
LAYOUTS = ("NCHW", "NHWC")
CHANNELS = ("rgb", "bgr", "gray")
FITS = ("crop", "stretch")
DTYPES = ("float32", "float16", "float64", "uint8")
# name -> (scale, mean, deviation): value = (pixel * scale - mean) / deviation, pixels from 0 to 255
NORMALISATIONS: Mapping[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    "none": (1.0, (0.0,), (1.0,)),
    "unit": (1 / 255, (0.0,), (1.0,)),
    "signed": (1 / 127.5, (1.0,), (1.0,)),
    "imagenet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_CROP = 0.875  # share of the shorter side that "crop" keeps, as ImageNet's models are evaluated


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An `[images.INPUT]` table: how an image becomes one row of a public input.

    Attributes:
        size: height and width.
        layout: "NCHW" or "NHWC".
        channels: "rgb", "bgr" or "gray".
        dtype: of the numbers.
        normalise: "none" (0 to 255), "unit" (0 to 1), "signed" (-1 to 1), "imagenet"; or "" for scale, mean and std.
        scale: of pixels, before the mean is taken off.
        mean: of each channel, or of all.
        std: of each channel, or of all.
        fit: "crop" keeps the middle, "stretch" the whole image.
    """

    size: tuple[int, ...] = ()
    layout: str = "NCHW"
    channels: str = "rgb"
    dtype: str = "float32"
    normalise: str = ""
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fit: str = "crop"

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless every value is allowed."""
        sides = [side for side in self.size if isinstance(side, int) and 0 < side <= 1 << 14]
        if len(self.size) != 2 or len(sides) != 2:
            raise ConfigError(f"{where}: size = {list(self.size)!r}; allowed: height and width, [224, 224]")
        check_known("layout", self.layout, LAYOUTS, where)
        check_known("channels", self.channels, CHANNELS, where)
        check_known("dtype", self.dtype, DTYPES, where)
        check_known("normalise", self.normalise, ("", *NORMALISATIONS), where)
        check_known("fit", self.fit, FITS, where)
        count = 1 if self.channels == "gray" else 3
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, count) or not all(isinstance(value, int | float) for value in values):
                raise ConfigError(f"{where}: {key} = {list(values)!r}; allowed: 1 or {count} numbers")
        if not all(self.std):
            raise ConfigError(f"{where}: std = {list(self.std)!r}; allowed: numbers other than 0")

    @property
    def dims(self) -> tuple[int, ...]:
        """Of one row."""
        channels = 1 if self.channels == "gray" else 3
        return (channels, *self.size) if self.layout == "NCHW" else (*self.size, channels)

    def row(self, image: Image) -> np.ndarray:
        """One image as numbers, of `dims`."""
        pixels = np.asarray(_resize(image, self.size, self.fit, "L" if self.channels == "gray" else "RGB"))
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        if self.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        scale, mean, std = NORMALISATIONS.get(self.normalise, (self.scale, self.mean, self.std))
        values = (pixels * np.float32(scale) - np.array(mean, np.float32)) / np.array(std, np.float32)
        if self.dtype == "uint8":
            values = values.round().clip(0, 255)
        return (values.transpose(2, 0, 1) if self.layout == "NCHW" else values).astype(self.dtype)


def files_in(folder: Path) -> list[Path]:
    """Images in a folder and those below it, in order of their names."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def load_images(folder: Path, inputs: Mapping[str, ImageInput], where: str) -> dict[str, np.ndarray]:
    """Decode all images of a folder.

    Args:
        folder: of images, folders within included.
        inputs: public input -> how an image becomes a row of it.
        where: file and key, for messages.

    Returns:
        public input -> [images, ...], mapped.

    Raises:
        ConfigError: no images, one that cannot be decoded, or no word on how they become inputs.
    """
    from PIL import Image

    if not inputs:
        raise ConfigError(
            f"{where}: {folder} is a folder of images, and no [images.INPUT] table says how they become inputs; "
            "`exeunt init` writes one from the members"
        )
    files = files_in(folder)
    if not files:
        raise ConfigError(f"{where}: {folder}: no images; allowed: {', '.join(sorted(SUFFIXES))}")
    arrays = {name: mapped_zeros((len(files), *input_.dims), input_.dtype) for name, input_ in inputs.items()}
    for number, file in enumerate(files):
        try:
            with Image.open(file) as image:
                for name, input_ in inputs.items():
                    arrays[name][number] = input_.row(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{where}: {file}: no image that can be decoded: {error}; take it out") from None
    return arrays


def _resize(image: Image, size: tuple[int, ...], fit: str, mode: str) -> Image:
    """Upright, of the wanted height and width, transparent parts on white."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    height, width = size
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        ground = Pillow.new("RGBA", image.size, "white")
        image = Pillow.alpha_composite(ground, image.convert("RGBA"))
    image = image.convert(mode)
    if fit == "stretch":
        return image.resize((width, height), Pillow.Resampling.BILINEAR)
    share = _CROP if min(image.size) > min(size) else 1.0
    factor = share * min(image.width / width, image.height / height)
    left_px, top_px = (image.width - factor * width) / 2, (image.height - factor * height) / 2
    box = (left_px, top_px, left_px + factor * width, top_px + factor * height)
    return image.resize((width, height), Pillow.Resampling.BILINEAR, box=box)
