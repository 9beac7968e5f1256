"""What a file holds by its content, and why it cannot be read as an image."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from paddleseg_u2net.io.jpeg_segments import segments

SAVE_AGAIN = "save it again as PNG or JPEG"
RESTORE = "restore it from its source, or leave it out"
CONVERT = "convert it to PNG or JPEG"
HEIF = "convert it to JPEG or PNG (heif-convert, ImageMagick, or the camera's setting 'most compatible')"
EXTRACT = "unpack it, and name the images inside"
REMOVE = "remove it"
FETCH = "download the file itself again"
EXPORT = "export it as PNG or JPEG"

HEAD = 4096  # bytes at the beginning that decide
MAX_TEXT = 60  # characters shown of a text
FLOATS, LARGEST_BITS = 3, 16  # of TIFF: sample format of fractions; more bits are not read
TIFF_BITS, TIFF_COMPRESSION, TIFF_FORMAT, DNG_VERSION = 258, 259, 339, 50706
SUBFILE_TYPE, SUB_DIRECTORIES = 254, 330
IS_PREVIEW, IS_MASK = 1, 4  # bits of SUBFILE_TYPE: a page shows another one smaller, or is its transparency
# names of TIFF compressions that not every decoder has; those of TIFF_READ are always decoded
TIFF_NAMES = {6: "old JPEG", 34676: "SGI LogLuv", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA"}
TIFF_NAMES |= {50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
TIFF_READ = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
JPEG_LOSSLESS = {0xC3: "lossless", 0xC7: "lossless", 0xCB: "lossless", 0xF7: "JPEG-LS"}
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}  # markers that begin with bits and size


class FileKind(NamedTuple):
    """A kind of file.

    Args:
        name: with its article.
        fix: what to do if it was given as an image.
        is_image: whether such files are read as images, so that one that is not read is damaged.
        problem: for such files, what in the content is not supported; an empty string if nothing is.
    """

    name: str
    fix: str = CONVERT
    is_image: bool = False
    problem: Callable[[bytes], str] = lambda _: ""


def _tiff_problem(data: bytes) -> str:
    from PIL import TiffImagePlugin

    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        bits = max(directory.get(TIFF_BITS, (1,)))
        compression = directory.get(TIFF_COMPRESSION, 1)
        fractions = FLOATS in directory.get(TIFF_FORMAT, (1,))
    except Exception:  # a damaged directory raises any kind of error
        return ""
    if is_camera_raw(directory):
        return "it is a camera raw file, whose first page is only a preview"
    if fractions or bits > LARGEST_BITS:
        return f"its samples are {'fractions' if fractions else 'numbers'} of {bits} bits"
    if compression not in TIFF_READ:
        return f"its compression is {TIFF_NAMES.get(compression, 'unknown')} ({compression})"
    return ""


def is_camera_raw(tags: Mapping[int, Any]) -> bool:
    """Whether the first page of a TIFF belongs to a camera raw file (DNG, NEF, ARW), as its preview.

    Args:
        tags: number -> value.
    """
    return DNG_VERSION in tags or bool(SUB_DIRECTORIES in tags and tags.get(SUBFILE_TYPE, 0) & IS_PREVIEW)


def _jpeg_problem(data: bytes) -> str:
    for marker, start in segments(data):
        if marker in JPEG_LOSSLESS:
            return f"it is {JPEG_LOSSLESS[marker]}"
        if marker in JPEG_FRAMES and start + 4 < len(data):
            bits = data[start + 4]
            return f"it has {bits} bits per sample" if bits != 8 else ""
    return ""


def _avif_problem(_: bytes) -> str:
    from PIL import features

    return "" if features.check("avif") else "the installed Pillow has no AVIF decoder"


JPEG = FileKind("a JPEG image", is_image=True, problem=_jpeg_problem)
PNG = FileKind("a PNG image", is_image=True)
WEBP = FileKind("a WebP image", is_image=True)
BMP = FileKind("a BMP image", is_image=True)
NETPBM = FileKind("a Netpbm image", is_image=True)
GIF = FileKind("a GIF image", is_image=True)
TIFF = FileKind("a TIFF image", is_image=True, problem=_tiff_problem)
HEIC = FileKind("a HEIC image", HEIF)
AVIF = FileKind("an AVIF image", HEIF, is_image=True, problem=_avif_problem)
JPEG_XL = FileKind("a JPEG XL image")
JPEG_2000 = FileKind("a JPEG 2000 image", is_image=True)
RAW = FileKind("a camera raw file", "develop it, and save JPEG or PNG")
VIDEO = FileKind("a video", "extract its frames, as by ffmpeg -i VIDEO frame_%05d.png")
AUDIO = FileKind("an audio file", REMOVE)
ARCHIVE = FileKind("an archive or office document (ZIP)", EXTRACT)
PROGRAM = FileKind("a program", REMOVE)
LFS = FileKind("a Git LFS pointer instead of the file", "git lfs pull")
ANNEX = FileKind("a git-annex pointer instead of the file", "git annex get")
SVG = FileKind("an SVG drawing", EXPORT)
HTML = FileKind("a web page (HTML), as failed downloads leave it", FETCH)
XML = FileKind("an XML document, as failed downloads leave it", FETCH)
JSON = FileKind("a JSON document", "name an image")
BASE64 = FileKind("an image as base64 text", "decode it: base64 -d")
APPLE_DOUBLE = FileKind("macOS's notes about another file (AppleDouble)", REMOVE)
TEXT_MODE = FileKind("an image that was transferred or saved as text", FETCH)

# (offset, bytes at that offset, kind); the first row that fits counts
SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"\x89PNG", TEXT_MODE),
    (0, b"\xef\xbf\xbdPNG", TEXT_MODE),
    (0, b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", TEXT_MODE),
    (0, b"\xc3\xbf\xc3\x98\xc3\xbf", TEXT_MODE),
    (8, b"WEBP", WEBP),
    (0, b"BM", BMP),
    (0, b"GIF8", GIF),
    (8, b"CR\x02", RAW),
    (0, b"II\x2a\0", TIFF),
    (0, b"MM\0\x2a", TIFF),
    (0, b"II\x2b\0", TIFF),
    (0, b"MM\0\x2b", TIFF),
    *((0, start, RAW) for start in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")),
    (0, b"\0\0\0\x0cjP  \r\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"\0\0\0\x0cJXL \r\n", JPEG_XL),
    (0, b"\xff\x0a", JPEG_XL),
    (0, b"8BPS", FileKind("a Photoshop file", EXPORT)),
    (0, b"gimp xcf", FileKind("a GIMP file", EXPORT)),
    (0, b"\x76\x2f\x31\x01", FileKind("an OpenEXR image")),
    (0, b"#?RADIANCE", FileKind("a Radiance HDR image")),
    (0, b"qoif", FileKind("a QOI image")),
    (0, b"DDS ", FileKind("a DDS texture")),
    (0, b"\0\0\1\0", FileKind("a Windows icon")),
    (0, b"icns", FileKind("a macOS icon")),
    *((0, b"P%d%c" % (number, blank), NETPBM) for number in range(1, 8) for blank in b"\n\r\t "),
    (128, b"DICM", FileKind("a DICOM file")),
    (344, b"n+1\0", FileKind("a NIfTI volume")),
    (0, b"SIMPLE  =", FileKind("a FITS file")),
    (0, b"%PDF-", FileKind("a PDF document", "export its pages as PNG, as by pdftoppm -png")),
    (0, b"%!PS", FileKind("a PostScript file", EXPORT)),
    (0, b"\xc5\xd0\xd3\xc6", FileKind("a PostScript file (EPS)", EXPORT)),
    (0, b"PK\x03\x04", ARCHIVE),
    (0, b"PK\x05\x06", ARCHIVE),
    (257, b"ustar", FileKind("an archive (tar)", EXTRACT)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("an archive (7z)", EXTRACT)),
    (0, b"Rar!", FileKind("an archive (RAR)", EXTRACT)),
    (0, b"\x1f\x8b", FileKind("gzip data", "unpack it: gunzip")),
    (0, b"BZh", FileKind("bzip2 data", "unpack it: bunzip2")),
    (0, b"\xfd7zXZ\0", FileKind("xz data", "unpack it: unxz")),
    (0, b"\x28\xb5\x2f\xfd", FileKind("Zstandard data", "unpack it: unzstd")),
    (0, b"\x89HDF", FileKind("an HDF5 file")),
    (0, b"\x93NUMPY", FileKind("a NumPy array", "save it as PNG, as by cv2.imwrite")),
    (0, b"\x80\x04\x95", FileKind("a Python pickle", "name an image")),
    (0, b"SQLite format 3", FileKind("an SQLite database", REMOVE)),
    *(
        (0, start, VIDEO)
        for start in (b"\x1a\x45\xdf\xa3", b"FLV", b"\0\0\1\xba", b"\0\0\1\xb3", b"\x30\x26\xb2\x75")
    ),
    (8, b"AVI ", VIDEO),
    (8, b"WAVE", AUDIO),
    *((0, start, AUDIO) for start in (b"ID3", b"fLaC", b"OggS")),
    (0, b"\0\x05\x16\x07", APPLE_DOUBLE),
    (0, b"\0\x05\x16\0", APPLE_DOUBLE),
    (0, b"\0\0\0\x01Bud1", FileKind("a macOS folder setting (.DS_Store)", REMOVE)),
    (0, b"\xd0\xcf\x11\xe0", FileKind("an old office document or Windows thumbnail cache", REMOVE)),
    (0, b"\x4c\0\0\0\x01\x14\x02\0", FileKind("a Windows shortcut", "name the file it refers to")),
    (0, b"\x7fELF", PROGRAM),
    (0, b"MZ", PROGRAM),
)
BEGINNINGS = (b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n")  # looked for behind other bytes
# brands of the ISO media format, in the bytes after `ftyp`; any other is a video
BRANDS = (
    (("avif", "avis"), AVIF),
    (("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1", "MiHE"), HEIC),
    (("jxl ",), JPEG_XL),
    (("crx ",), RAW),
    (("M4A ", "M4B "), AUDIO),
)
# pattern at the beginning of a text, without blanks before it -> kind; the first row that fits counts
TEXTS = (
    (r"version https://git-lfs", LFS),
    (r"(\.\./|\.)*\.?git/annex/objects|/annex/objects/", ANNEX),
    (r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg", SVG),
    (r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype html|html|head|body|script|title|meta)", HTML),
    (r"<\?xml|<\w+[\s>]", XML),
    (r"data:image/|/9j/4|iVBORw0KGgo|R0lGODlh|UklGR", BASE64),
    (r"[{\[]\s*[\"{\[\]}\d-]", JSON),
)


def find_kind(data: bytes) -> FileKind | None:
    """What a file holds, by its content; None if that is unknown.

    Args:
        data: the file, or its first HEAD bytes.
    """
    for offset, start, kind in SIGNATURES:
        if data.startswith(start, offset):
            return kind
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("latin-1")
        return next((kind for brands, kind in BRANDS if brand in brands), VIDEO)
    if data[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return VIDEO
    if data and not any(data):
        return FileKind("nothing but zero bytes, as an interrupted copy leaves them", RESTORE)
    return _find_behind(data[:HEAD]) or _find_text(data[:HEAD])


def _find_behind(head: bytes) -> FileKind | None:
    """An image behind other bytes, as some programs leave headers of a transfer before it."""
    found = min((start for start in map(head.find, BEGINNINGS) if start > 0), default=0)
    return FileKind(f"an image behind {found} other bytes", f"remove them, or {FETCH}") if found else None


def _find_text(head: bytes) -> FileKind | None:
    """The kind of a text; None if it is no text."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = head.decode(encoding, "ignore").strip()
    if "\0" in text or not text or len(text.encode(errors="ignore")) < len(head) // 4:
        return None
    for pattern, kind in TEXTS:
        if re.match(pattern, text, re.IGNORECASE | re.DOTALL):
            return kind
    if sum(character.isprintable() or character.isspace() for character in text) < 0.95 * len(text):
        return None
    shown = " ".join(text.split())[:MAX_TEXT]
    return FileKind(f"a text that begins with {shown!r}", "name an image")


def is_plain_text(head: bytes) -> bool:
    """Whether the beginning of a file is that of a text, as a list of images is, and of no known document."""
    return b"\0" not in head and _find_text(head[:HEAD]) not in (HTML, XML, SVG, LFS, ANNEX, BASE64)


def why_unreadable(data: bytes, reason: str = "") -> tuple[str, str]:
    """Why a file is not read as an image, and what to do about it.

    Args:
        data: the file.
        reason: what its decoder says, if it says anything.
    """
    if not data:
        return "the file is empty", ""
    kind = find_kind(data)
    if kind is None:
        return f"no image of a known format; it begins with {data[:8].hex(' ')}", SAVE_AGAIN
    if not kind.is_image:
        return f"holds {kind.name}", kind.fix
    if problem := kind.problem(data):
        return (
            f"{kind.name} that is not supported: {problem}",
            SAVE_AGAIN if kind.fix == CONVERT else kind.fix,
        )
    return f"{kind.name} that is truncated or damaged{f' ({reason})' if reason else ''}", RESTORE
