from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipsteer.data.images import decode
from clipsteer.errors import ClipsteerError


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    image = decode(data, "x")
    assert image.mode == "RGB"
    return np.asarray(image)


def photo(size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Smooth, so that JPEG keeps it, and without any symmetry."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    rgb = np.stack([x * 5, y * 7, (x + 2 * y) * 2], axis=-1)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def test_rgb_is_exact_in_png_and_near_in_jpeg() -> None:
    want = np.asarray(photo())
    assert np.array_equal(pixels(encode(photo())), want)
    near = pixels(encode(photo(), "JPEG", quality=95, subsampling=0)).astype(int)
    assert np.abs(near - want).max() < 12


def test_greyscale_one_bit_and_palette() -> None:
    grey = photo().convert("L")
    want = np.repeat(np.asarray(grey)[..., None], 3, axis=-1)
    assert np.array_equal(pixels(encode(grey)), want)
    assert np.abs(pixels(encode(grey, "JPEG", quality=95)).astype(int) - want).max() < 12
    assert set(np.unique(pixels(encode(grey.convert("1"))))) == {0, 255}
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert pixels(encode(palette)).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert (
        np.abs(pixels(encode(cmyk, "JPEG", quality=95))[8, 8].astype(int) - [255, 0, 0]).max() < 6
    )


@pytest.mark.parametrize(
    ("alpha", "want"), [(0, [255, 255, 255]), (255, [200, 0, 100]), (51, [244, 204, 224])]
)
def test_transparency_lies_over_white(alpha: int, want: list[int]) -> None:
    image = Image.new("RGBA", (2, 2), (200, 0, 100, alpha))
    assert np.abs(pixels(encode(image))[0, 0].astype(int) - want).max() <= 1


def test_transparency_of_grey_palette_and_colour_key() -> None:
    assert pixels(encode(Image.new("LA", (1, 1), (0, 0)))).tolist() == [[[255] * 3]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    want = [[[255] * 3, [200, 100, 50]]]
    assert pixels(encode(palette, transparency=0)).tolist() == want
    keyed = Image.new("RGB", (2, 1), (1, 2, 3))
    keyed.putpixel((1, 0), (200, 100, 50))
    assert pixels(encode(keyed, transparency=(1, 2, 3))).tolist() == want
    assert pixels(encode(Image.new("L", (1, 1), 7), transparency=7)).tolist() == [[[255] * 3]]
    deep = Image.fromarray(np.array([[7, 257]], np.uint16))
    assert pixels(encode(deep, transparency=7)).tolist() == [[[255] * 3, [1] * 3]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_greyscale_is_scaled_not_clipped(form: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    got = pixels(encode(Image.fromarray(values), form))
    want = np.round(values / 257)
    assert np.array_equal(got, np.repeat(want[..., None], 3, axis=-1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """The camera wrote the scene turned; after decoding the scene stands upright again."""
    scene = photo((48, 32))
    written = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation](np.asarray(scene))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(written))
    assert np.array_equal(pixels(encode(image, exif=exif)), np.asarray(scene))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_unreadable_exif_does_not_cost_the_image() -> None:
    data = encode(photo(), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")
    assert np.array_equal(pixels(data), np.asarray(photo()))


@pytest.mark.parametrize("size", [(1, 30), (30, 1), (1, 1)])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_one_pixel_wide(size: tuple[int, int], form: str) -> None:
    assert decode(encode(photo(size), form), "x").size == size


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_truncated_files_name_the_file(form: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), form)
    with pytest.raises(ClipsteerError, match=r"img/000007\.jpg"):
        decode(data[: int(share * len(data))], "img/000007.jpg")


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<html>"])
def test_other_files_name_the_file(data: bytes) -> None:
    with pytest.raises(ClipsteerError, match=r"000007\.jpg"):
        decode(data, "000007.jpg")


def test_corrupt_png_names_the_file() -> None:
    data = bytearray(encode(photo()))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ClipsteerError, match=r"a\.png"):
        decode(bytes(data), "a.png")


def tiff(data: bytes, bits: int, *, sample_format: int = 1) -> bytes:
    """A TIFF of two grey pixels that Pillow would not write."""
    data += bytes(len(data) % 2)
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(data)}
    tags[339] = sample_format
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data
    return head + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (encode(Image.new("F", (2, 2), 0.5), "TIFF"), "floating-point"),
        (encode(Image.fromarray(np.array([[0, 2**30]], np.int32)), "TIFF"), "32-bit integer"),
        (encode(Image.fromarray(np.array([[0, 255]], np.int32)), "TIFF"), "32-bit integer"),
        (tiff(np.array([-5, 300], "<i2").tobytes(), 16, sample_format=2), "signed"),
    ],
    ids=["float", "32 bits", "32 bits with small values", "signed"],
)
def test_pixels_of_an_unknown_range_are_refused(data: bytes, found: str) -> None:
    with pytest.raises(ClipsteerError, match=rf"a\.tif: found {found} pixels.*8 or 16 bits"):
        decode(data, "a.tif")


def test_greyscale_of_other_depths_has_its_own_white() -> None:
    """Netpbm of 10 bits, and TIFFs of 12 bits and with a zero that is white."""
    ten = b"P5\n3 1\n1023\n" + np.array([0, 512, 1023], ">u2").tobytes()
    assert pixels(ten)[0, :, 0].tolist() == [0, 128, 255]
    values = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
    assert pixels(encode(values, "TIFF", tiffinfo={262: 0}))[0, :, 0].tolist() == [255, 254, 0]
    assert pixels(tiff(bytes([0x00, 0x0F, 0xFF]), 12))[0, :, 0].tolist() == [0, 255]


def test_lab_is_converted() -> None:
    grey = Image.new("LAB", (2, 2), (128, 128, 128))
    assert pixels(encode(grey, "TIFF"))[0, 0].tolist() == [119, 119, 119]


def test_first_page_of_a_tiff() -> None:
    pages = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert pixels(data)[0, 0].tolist() == [255, 0, 0]


def test_git_lfs_pointer_is_named() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
    with pytest.raises(ClipsteerError, match=r"a\.jpg: found a Git LFS pointer.*git lfs pull"):
        decode(pointer, "a.jpg")


def test_decompression_bomb() -> None:
    """A small file that claims 400 million pixels is refused before it is decoded."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ClipsteerError, match=r"bomb\.png.*too large"):
        decode(data, "bomb.png")
