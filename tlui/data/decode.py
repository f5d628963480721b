"""Any image a person has in a folder -> upright 8-bit RGB, or the reason why not.

Formats are told by content, never by suffix: JPEG (MPO too), PNG, BMP, GIF and WebP (first
frame), TIFF (first page). CMYK, gray, 16-bit gray (divided by 257, rounded), bilevel, palette and
alpha come out as RGB; what is transparent is laid on white, as a browser page shows it. EXIF
orientation is applied. The same bytes give the same pixels on every machine with the
same Pillow and JPEG library.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import (  # each plugin registers its format when imported
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from tlui.data.items import BadImage, Pixels

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF")
MAX_PIXELS = 256 * 1024 * 1024
"""Larger than any camera's; what is above is taken for a decompression bomb."""
MAX_BYTES = 1024**3
"""A file larger than this is not read at all."""

PLUGINS = (
    BmpImagePlugin, GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin,
    TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip

Resize = Literal["stretch", "crop", "pad"]

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF87a", b"GIF89a",
                 b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # fmt: skip
_OTHER_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000, which is not read; convert it to JPEG or PNG"),
)
_ISO_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}

Image.MAX_IMAGE_PIXELS = None  # checked here, before any pixel is decoded
warnings.filterwarnings("ignore", module=r"PIL(\.|$)")


def sniff(start: bytes) -> bool:
    """Whether these first bytes (16 are enough) are those of an image that `decode` reads."""
    return start.startswith(_IMAGE_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def decode(data: bytes | Pixels) -> Pixels:
    """Encoded bytes, or pixels, as upright RGB.

    Args:
        data: The content of an image file; or uint8 (h, w), (h, w, 1), (h, w, 3).

    Returns:
        uint8 (h, w, 3), 0-255.

    Raises:
        BadImage: It is no image, damaged, too large, or of a kind without a meaning as RGB.
    """
    if isinstance(data, np.ndarray):
        return _pixels(data)
    return np.asarray(_open(data, None))


@dataclass(frozen=True)
class Photo:
    """What a good image is, as it lies in its file."""

    width: int
    """Pixels, upright."""
    height: int
    format: str
    """JPEG, PNG …"""
    mode: str
    """Pillow's mode before it became RGB: RGB, L, CMYK, P, RGBA …"""


def examine(data: bytes) -> Photo:
    """Decode an image to its last byte and say what it is.

    Raises:
        BadImage: As `decode`.
    """
    image, form, mode = _opened(data, None)
    return Photo(image.width, image.height, form, mode)


def decode_to(data: bytes | Pixels, size: int, method: Resize) -> Pixels:
    """`fit(decode(data), size, method)`, faster for large JPEGs.

    A JPEG more than twice as large as needed, each way, is decoded at 1/2, 1/4 or 1/8 of its
    size, never below twice the target, by libjpeg's own scaling; which one depends on its size
    alone.
    """
    if isinstance(data, np.ndarray):
        return fit(_pixels(data), size, method)
    return np.asarray(_fitted(_open(data, (size, method)), size, method))


def fit(image: Pixels, size: int, method: Resize) -> Pixels:
    """An RGB image as a square, resized with Pillow's antialiased bilinear filter.

    Args:
        image: uint8 (h, w, 3).
        size: Side in pixels.
        method: `stretch` both sides; `crop` the centre square; `pad` with black around.

    Returns:
        uint8 (size, size, 3).
    """
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(_fitted(Image.fromarray(image), size, method))


def _pixels(data: Pixels) -> Pixels:
    if data.dtype != np.uint8 or data.ndim not in (2, 3):
        raise BadImage(f"pixels of type {data.dtype} and shape {data.shape}, not 8-bit RGB or gray")
    if data.ndim == 2:
        data = data[:, :, None]
    if data.shape[2] == 1:
        data = np.repeat(data, 3, axis=2)
    if data.shape[2] != 3 or 0 in data.shape:
        raise BadImage(f"pixels of shape {data.shape}, not (height, width, 3)")
    return data


def _fitted(image: Image.Image, size: int, method: Resize) -> Image.Image:
    width, height = image.size
    if (width, height) == (size, size):
        return image
    bilinear = Image.Resampling.BILINEAR
    if method == "stretch":
        return image.resize((size, size), bilinear)
    if method == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return image.resize((size, size), bilinear, box=box)
    inner = _padded_inner(width, height, size)
    square = Image.new("RGB", (size, size))
    square.paste(image.resize(inner, bilinear), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return square


def _padded_inner(width: int, height: int, size: int) -> tuple[int, int]:
    """Size of the image inside a padded square; integers only, so the same everywhere."""
    longest = max(width, height)
    return (
        max(1, (2 * width * size + longest) // (2 * longest)),
        max(1, (2 * height * size + longest) // (2 * longest)),
    )


def _open(data: bytes, target: tuple[int, Resize] | None) -> Image.Image:
    return _opened(data, target)[0]


def _opened(data: bytes, target: tuple[int, Resize] | None) -> tuple[Image.Image, str, str]:
    """A loaded, upright RGB image; its format, and its mode before.

    Raises:
        BadImage: See `decode`.
    """
    if not data:
        raise BadImage("0 bytes")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise BadImage(f"{len(data):,} bytes do not fit in memory", passing=True) from None
    except Exception as error:
        raise BadImage(_not_an_image(data, error)) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImage(
            f"{width:,} x {height:,} pixels from {len(data):,} bytes: "
            "larger than any photo, perhaps a decompression bomb"
        )
    if target is not None and image.format in ("JPEG", "MPO"):
        _draft(image, *target)
    try:
        image.load()
    except Exception as error:
        _need_memory(image, error)
        raise BadImage(_damaged(data, image, error)) from None
    try:
        turn = _turn(image)
        form, mode = image.format or "?", image.mode
        colours = _rgb(image)
        return colours if turn is None else colours.transpose(turn), form, mode
    except BadImage:
        raise
    except Exception as error:
        _need_memory(image, error)
        raise BadImage(f"{image.format} in mode {image.mode} has no RGB form ({error})") from None


def _need_memory(image: Image.Image, error: Exception) -> None:
    """Tell what memory did not suffice for from what is damaged.

    Raises:
        BadImage: It did not suffice.
    """
    if isinstance(error, MemoryError) or "out of memory" in str(error):  # so says a codec
        width, height = image.size
        raise BadImage(f"{width:,} x {height:,} pixels do not fit in memory", True) from None


def _draft(image: Image.Image, size: int, method: Resize) -> None:
    width, height = image.size
    wanted = (size, size) if method != "pad" else _padded_inner(width, height, size)
    image.draft(None, (2 * wanted[0], 2 * wanted[1]))


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise BadImage("32-bit gray values have no agreed range; convert it to 8 or 16 bits")
        gray = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return Image.fromarray(gray).convert("RGB")
    if mode == "F":
        raise BadImage("floating-point gray values have no agreed range; convert it to 8 bits")
    if image.has_transparency_data:
        clear = image if mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, clear).convert("RGB")
    return image if mode == "RGB" else image.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What EXIF asks for; after loading, since TIFF is turned by Pillow and PNG has it last."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF: the pixels are good all the same
        return None


def _not_an_image(data: bytes, error: Exception) -> str:
    for start, what in _OTHER_STARTS:
        if data.startswith(start):
            return f"not an image but {what}"
    if data[4:8] == b"ftyp" and (brand := _ISO_BRANDS.get(data[8:12])):
        return f"{brand}, which is not read; convert it to JPEG or PNG"
    if sniff(data[:16]):
        if len(data) < 4096:
            return f"truncated after {len(data):,} bytes"
        return f"damaged: {error}" if "cannot identify" not in str(error) else "damaged header"
    text = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n")[0]
    if text and all(32 <= byte < 127 for byte in text):
        return f"not an image: starts with {text[:24].decode('ascii')}"
    if not any(data):
        return f"not an image: {len(data):,} zero bytes"
    return f"not an image: starts with bytes {data[:4].hex(' ')}"


def _damaged(data: bytes, image: ImageFile.ImageFile | Image.Image, error: Exception) -> str:
    message = str(error)
    lower = message.lower()
    if "truncated" in lower or "not enough" in lower or "end of file" in lower:
        return f"truncated after {len(data):,} bytes"
    if "broken data stream" in lower:
        return f"damaged: {image.format} data broken within its {len(data):,} bytes"
    return f"damaged {image.format}: {message or type(error).__name__}"
