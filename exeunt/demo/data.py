"""The demo's data: scikit-learn's handwritten digits at 32 px, split by image, and a noisy stream of them.

The images are real (UCI test set, 1797 digits of 8 x 8 pixels); only the noise on them is made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZE_PX = 32
CLASSES = tuple(str(digit) for digit in range(10))
SHARES = (1 / 6, 1 / 3, 1 / 2)  # train, calibration, test
DRIFT = (0.05, 0.3, 0.15, 0.6, 0.1)  # standard deviation of the noise, reached at even spaces along the stream
TRAINED_NOISE = 0.6  # members and ramps see noise from 0 up to here


@dataclass(frozen=True, slots=True)
class DigitsPart:
    """Images of one part: float32 [n, 1, 32, 32] in 0..1, and int64 [n] true labels."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Digits:
    """The three parts; no image is in two of them."""

    train: DigitsPart
    calibration: DigitsPart
    test: DigitsPart


@dataclass(frozen=True, slots=True)
class ImageStream:
    """Noisy images in order of arrival.

    Attributes:
        images: float32 [rows, 1, 32, 32].
        labels: int64 [rows], the true label.
        noise: float64 [rows], standard deviation of the noise on each image.
    """

    images: np.ndarray
    labels: np.ndarray
    noise: np.ndarray


def digits(seed: int = 0) -> Digits:
    """Load and split the digits; needs scikit-learn, which carries them, and no network."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = upscale((bunch.images / 16.0).astype(np.float32))[:, None]
    labels = bunch.target.astype(np.int64)
    parts = [DigitsPart(images[part_indices], labels[part_indices]) for part_indices in split(len(labels), seed)]
    return Digits(*parts)


def split(images: int, seed: int) -> list[np.ndarray]:
    """Image numbers of the parts: int64 arrays in the proportions of SHARES, disjoint, together all images."""
    order = np.random.default_rng(seed).permutation(images)
    ends = np.round(np.cumsum(SHARES)[:-1] * images).astype(int)
    return np.split(order, ends)


def bootstrap(part: DigitsPart, seed: int) -> DigitsPart:
    """As many images as `part` has, drawn with replacement: about 63 % of them, some several times."""
    image_indices = np.random.default_rng(seed).integers(0, len(part), len(part))
    return DigitsPart(part.images[image_indices], part.labels[image_indices])


def upscale(images: np.ndarray) -> np.ndarray:
    """Bilinear enlargement to SIZE_PX squared; float32 [n, 32, 32] from float32 [n, height, width]."""
    rows, columns = (_interpolation(length) for length in images.shape[1:])
    return np.einsum("ij,njk,lk->nil", rows, images, columns, optimize=True).astype(np.float32)


def _interpolation(length: int) -> np.ndarray:
    """Weights of the old pixels in each new one, float64 [32, length]; pixel centres are aligned."""
    centres = np.clip((np.arange(SIZE_PX) + 0.5) * length / SIZE_PX - 0.5, 0, length - 1)
    return np.maximum(0.0, 1.0 - np.abs(centres[:, None] - np.arange(length)[None]))


def with_noise(images: np.ndarray, deviation: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
    """Images plus Gaussian noise, not clipped; `deviation` is a number or float [n]; float32, same shape."""
    spread = np.reshape(np.asarray(deviation, dtype=np.float32), (-1, *[1] * (images.ndim - 1)))
    return images + spread * rng.standard_normal(images.shape, dtype=np.float32)


def drifting_noise(rows: int) -> np.ndarray:
    """Noise along a stream: DRIFT with straight lines in between; float64 [rows]."""
    return np.interp(np.linspace(0.0, 1.0, rows), np.linspace(0.0, 1.0, len(DRIFT)), DRIFT)


def drifting_stream(part: DigitsPart, rows: int, seed: int) -> ImageStream:
    """A stream of `rows` images drawn from `part` in rounds, each round in a new order, under drifting noise."""
    rng = np.random.default_rng(seed)
    rounds = -(-rows // len(part))
    image_indices = np.concatenate([rng.permutation(len(part)) for _ in range(rounds)])[:rows]
    noise = drifting_noise(rows)
    return ImageStream(with_noise(part.images[image_indices], noise, rng), part.labels[image_indices], noise)


def samples(part: DigitsPart, copies: int, seed: int) -> np.ndarray:
    """Unlabelled sample inputs for the export: each image `copies` times under noise from 0 to TRAINED_NOISE.

    Returns:
        float32 [len(part) * copies, 1, 32, 32], shuffled.
    """
    rng = np.random.default_rng(seed)
    images = part.images[rng.permutation(np.repeat(np.arange(len(part)), copies))]
    return with_noise(images, rng.uniform(0.0, TRAINED_NOISE, len(images)), rng)
