"""Any image -> upright 8-bit RGB, or a reason."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlui.data.decode import decode, decode_to, examine, fit, sniff
from tlui.data.items import BadImage

RED, GREEN, BLUE = (200, 20, 30), (20, 180, 40), (10, 30, 220)


def corners() -> Image.Image:
    """Red top left, green top right, blue below; wider than high."""
    image = Image.new("RGB", (64, 32), BLUE)
    image.paste(RED, (0, 0, 32, 16))
    image.paste(GREEN, (32, 0, 64, 16))
    return image


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def near(pixel: np.ndarray, colour: tuple[int, int, int], within: int = 12) -> bool:
    return bool(np.all(np.abs(pixel.astype(int) - colour) <= within))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
    ],
)
def test_formats_are_told_by_content(form: str, options: dict[str, object]) -> None:
    data = saved(corners(), form, **options)
    assert sniff(data[:16])
    pixels = decode(data)
    assert pixels.shape == (32, 64, 3) and pixels.dtype == np.uint8
    assert near(pixels[4, 4], RED) and near(pixels[4, 60], GREEN) and near(pixels[28, 4], BLUE)
    assert examine(data).format == form


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, form: str) -> None:
    # the stored pixels are those that the orientation turns into `corners`
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = corners() if undo is None else corners().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(saved(stored, form, exif=exif))
    assert pixels.shape == (32, 64, 3)
    assert near(pixels[4, 4], RED, 25) and near(pixels[4, 60], GREEN, 25)
    assert near(pixels[28, 32], BLUE, 25)


def test_modes() -> None:
    gray = Image.new("L", (8, 8), 77)
    assert (decode(saved(gray, "PNG")) == 77).all()
    assert (decode(saved(Image.new("1", (8, 8), 1), "PNG")) == 255).all()
    palette = corners().quantize(8)
    assert near(decode(saved(palette, "PNG"))[4, 4], RED)
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert near(decode(saved(cmyk, "TIFF"))[4, 4], (255, 0, 0))


def test_16_bit_gray_is_divided_by_257() -> None:
    values = np.array([[0, 128, 129, 257], [32768, 65278, 65407, 65535]], np.uint16)
    pixels = decode(saved(Image.fromarray(values), "PNG"))
    assert pixels[:, :, 0].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    if mode == "P":
        flat = Image.new("P", (8, 8), 0)
        flat.putpalette([0, 0, 0, 0, 0, 0])
        flat.paste(1, (0, 0, 4, 8))
        data = saved(flat, "PNG", transparency=0)
    else:
        data = saved(image.convert(mode), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = decode(data)
    assert (pixels[:, :4] == 0).all() and (pixels[:, 4:] == 255).all()


def test_half_transparent_is_blended() -> None:
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert decode(saved(image, "PNG"))[0, 0].tolist() == [127, 127, 127]


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    for form in ("GIF", "WEBP"):
        data = saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
        assert near(decode(data)[4, 4], RED)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"<!DOCTYPE html><html></html>", "not an image: starts with <!DOCTYPE html><html></h"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"%PDF-1.7", "not an image but a PDF document"),
        (b"\x00" * 100, "not an image: 100 zero bytes"),
        (b"\xde\xad\xbe\xef" * 9, "not an image: starts with bytes de ad be ef"),
        (b"\xff\xd8\xff\xe0", "truncated after 4 bytes"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 20, "HEIC, which is not read; convert it"),
        (b"\x1b[31mred\x1b[0m", "starts with bytes 1b 5b 33 31"),
    ],
)
def test_what_is_no_image_says_what_it_is(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason.replace("[", r"\[")):
        decode(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_no_cut_or_flip_of_bytes_raises_anything_else(form: str) -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
    data = saved(Image.fromarray(noise), form)
    for cut in range(0, len(data) - 2, max(1, len(data) // 60)):
        spoiled = bytearray(data)
        spoiled[rng.integers(len(data))] ^= 0xFF
        for damaged in (data[:cut], bytes(spoiled)):
            try:
                assert decode_to(damaged, 16, "stretch").shape == (16, 16, 3)
            except BadImage as error:
                assert error.reason and "\x1b" not in error.reason


def test_truncation_names_where_it_ends() -> None:
    data = saved(corners().resize((400, 300)), "JPEG")
    with pytest.raises(BadImage, match=f"truncated after {len(data) - 2:,} bytes"):
        decode(data[:-2])


def test_decompression_bomb_is_named_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    with pytest.raises(BadImage, match=r"100,000 x 100,000 pixels .* decompression bomb"):
        decode(bomb)


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("out of memory when reading image file")], ids=repr
)
@pytest.mark.parametrize("step", ["load", "convert"])
def test_too_little_memory_is_no_damage(
    monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    data = saved(Image.new("L", (30, 20)), "PNG")
    monkeypatch.setattr(f"PIL.PngImagePlugin.PngImageFile.{step}", fail)
    with pytest.raises(BadImage, match="30 x 20 pixels do not fit in memory") as caught:
        decode(data)
    assert caught.value.passing


def test_fit_methods() -> None:
    pixels = np.asarray(corners())
    assert fit(pixels, 32, "stretch").shape == (32, 32, 3)
    crop = fit(pixels, 32, "crop")
    assert near(crop[2, 2], RED) and near(crop[2, 29], GREEN)
    pad = fit(pixels, 32, "pad")
    assert (pad[:8] == 0).all() and (pad[24:] == 0).all()
    assert near(pad[10, 2], RED) and near(pad[22, 2], BLUE)
    assert fit(pixels[:32, :32], 32, "pad") is not None
    for method in ("stretch", "crop", "pad"):
        assert fit(pixels[:1, :1], 8, method).shape == (8, 8, 3)  # type: ignore[arg-type]
        assert fit(np.zeros((3, 2000, 3), np.uint8), 8, method).shape == (8, 8, 3)  # type: ignore[arg-type]


def test_large_jpegs_are_scaled_while_decoding_without_visible_change() -> None:
    ramp = np.linspace(0, 255, 2400).astype(np.uint8)
    big = np.stack([np.tile(ramp, (1600, 1)), np.tile(ramp[:1600, None], (1, 2400))] * 2, -1)
    data = saved(Image.fromarray(np.ascontiguousarray(big[:, :, :3])), "JPEG", quality=90)
    for method in ("stretch", "crop", "pad"):
        fast = decode_to(data, 64, method).astype(int)  # type: ignore[arg-type]
        whole = fit(decode(data), 64, method).astype(int)  # type: ignore[arg-type]
        assert np.abs(fast - whole).max() <= 6
        assert (decode_to(data, 64, method) == fast).all()  # type: ignore[arg-type]


def test_pixels_pass_through() -> None:
    gray = np.full((4, 5), 9, np.uint8)
    assert decode(gray).shape == (4, 5, 3)
    assert decode(gray[:, :, None]).shape == (4, 5, 3)
    with pytest.raises(BadImage, match="float32"):
        decode(gray.astype(np.float32))  # type: ignore[arg-type]


BAD = {
    "truncated_half.jpg": "truncated after 24,045 bytes",
    "truncated_last2.jpg": "truncated after 48,088 bytes",
    "truncated_header.jpg": "truncated after 300 bytes",
    "bitrot.jpg": "damaged: JPEG data broken within its 48,090 bytes",
    "zero_byte.jpg": "0 bytes",
    "html_saved_as.jpg": "not an image: starts with <!DOCTYPE html>",
    "text_saved_as.png": "not an image but a Git LFS pointer; run `git lfs pull`",
    "random_bytes.jpg": "not an image: starts with bytes",
    "jpeg_magic_only.jpg": "truncated after 4 bytes",
    "Thumbs.db": "not an image: starts with bytes d0 cf 11 e0",
    ".DS_Store": "not an image: starts with bytes 00 00 00 01",
}
SHAPES = {"exif_rotated6.jpg": (288, 512, 3), "strip_2000x3.jpg": (3, 2000, 3)}


def test_every_dirty_file(realdata: Path) -> None:
    rows = (realdata / "dirty" / "MANIFEST.tsv").read_text().splitlines()[1:]
    names = [row.split("\t")[0] for row in rows]
    assert len(names) == 40
    for name in names:
        data = (realdata / "dirty" / name).read_bytes()
        if name in BAD:
            with pytest.raises(BadImage) as caught:
                decode(data)
            assert caught.value.reason.startswith(BAD[name]), name
            continue
        pixels = decode(data)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, name
        assert pixels.shape == SHAPES.get(name, pixels.shape)
        assert decode_to(data, 64, "crop").shape == (64, 64, 3), name


def test_dirty_files_show_what_they_show(realdata: Path) -> None:
    def read(name: str) -> np.ndarray:
        return decode_to((realdata / "dirty" / name).read_bytes(), 64, "stretch").astype(int)

    good = read("good.jpg")
    for same in ("cmyk.jpg", "progressive.jpg", "webp_named.jpg", "no_extension", "rgb16.png",
                 "tiff_lzw.tif", "bmp_named.jpg", "animated.gif", "palette.png"):  # fmt: skip
        assert np.abs(read(same) - good).mean() < 12, same
    assert np.abs(read("gray16.png") - read("grayscale.jpg")).mean() < 2
    assert np.abs(read("exif_rotated6.jpg") - read("exif_rotated3.jpg")).mean() < 3
    assert (read("rgba_transparent.png")[0, 0] == 255).all()
