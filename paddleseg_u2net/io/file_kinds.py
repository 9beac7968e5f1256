"""What a file holds by its content: the one table of formats, which are read as images, and which are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from paddleseg_u2net.io.unsupported import avif_problem, jpeg_problem, tiff_problem

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


class FileKind(NamedTuple):
    """A kind of file.

    Args:
        name: with its article.
        fix: what to do if it was given as an image.
        suffixes: of file names, without the dot; they decide if the content is damaged or has no signature.
        reader: Pillow's names of the format and of its module, if such files are read as images.
        problem: for such files, what in the content is not supported; an empty string if nothing is.
        is_picture: whether it shows an image, so that one is lost if the file is not read.
    """

    name: str
    fix: str = CONVERT
    suffixes: str = ""
    reader: tuple[str, str] | None = None
    problem: Callable[[bytes], str] = lambda _: ""
    is_picture: bool = False

    @property
    def is_image(self) -> bool:
        """Whether such files are read, so that one that cannot be read is damaged."""
        return self.reader is not None

    @property
    def noun(self) -> str:
        """The name without its article."""
        return self.name.partition(" ")[2]


def _picture(name: str, suffixes: str = "", fix: str = CONVERT) -> FileKind:
    """A format of images that is not read."""
    return FileKind(name, fix, suffixes, is_picture=True)


JPEG = FileKind("a JPEG image", CONVERT, "jpg jpeg jpe jif jfif mpo", ("JPEG", "Jpeg"), jpeg_problem)
PNG = FileKind("a PNG image", CONVERT, "png apng", ("PNG", "Png"))
WEBP = FileKind("a WebP image", CONVERT, "webp", ("WEBP", "WebP"))
BMP = FileKind("a BMP image", CONVERT, "bmp dib", ("BMP", "Bmp"))
TIFF = FileKind("a TIFF image", CONVERT, "tif tiff btf", ("TIFF", "Tiff"), tiff_problem)
JPEG_2000 = FileKind("a JPEG 2000 image", CONVERT, "jp2 j2k jpf jpx jpc j2c", ("JPEG2000", "Jpeg2K"))
GIF = FileKind("a GIF image", CONVERT, "gif", ("GIF", "Gif"))
AVIF = FileKind("an AVIF image", HEIF, "avif avifs", ("AVIF", "Avif"), avif_problem)
NETPBM = FileKind("a Netpbm image", CONVERT, "pbm pgm ppm pnm", ("PPM", "Ppm"))

RAW_SUFFIXES = "3fr arw cr2 cr3 crw dcr dng erf iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl"
RAW = _picture("a camera raw file", f"{RAW_SUFFIXES} sr2 srf srw x3f", "develop it, and save JPEG or PNG")
HEIC = _picture("a HEIC image", "heic heif hif", HEIF)
JPEG_XL = _picture("a JPEG XL image", "jxl")
JPEG_XR = _picture("a JPEG XR image", "jxr wdp hdp")
PHOTOSHOP = _picture("a Photoshop file", "psd psb", EXPORT)
GIMP = _picture("a GIMP file", "xcf", EXPORT)
OPENEXR = _picture("an OpenEXR image", "exr")
HDR = _picture("a Radiance HDR image")  # .hdr is also the name of descriptions of other files
DICOM = _picture("a DICOM file", "dcm dicom")
NIFTI = _picture("a NIfTI volume", "nii")
SVG = _picture("an SVG drawing", "svg", EXPORT)
PFM = _picture("a PFM image, whose samples are floating-point numbers", "pfm")
TEXT_MODE = _picture("an image that was transferred or saved as text", fix=FETCH)
# known by their names only
NAMED = (_picture("a TGA image", "tga"), _picture("a MetaImage volume", "mha mhd"))
VIDEO = FileKind("a video", "extract its frames, as by ffmpeg -i VIDEO frame_%05d.png")
AUDIO = FileKind("an audio file", REMOVE)
ARCHIVE = FileKind("an archive or office document (ZIP)", EXTRACT)
PROGRAM = FileKind("a program", REMOVE)
LFS = FileKind("a Git LFS pointer instead of the file", "git lfs pull")
ANNEX = FileKind("a git-annex pointer instead of the file", "git annex get")
HTML = FileKind("a web page (HTML), as failed downloads leave it", FETCH)
XML = FileKind("an XML document, as failed downloads leave it", FETCH)
JSON = FileKind("a JSON document", "name an image")
BASE64 = FileKind("an image as base64 text", "decode it: base64 -d")
APPLE_DOUBLE = FileKind("macOS's notes about another file (AppleDouble)", REMOVE)

# (offset, bytes at that offset, kind); the first row that fits counts
SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"\x89PNG", TEXT_MODE),
    (0, b"\xef\xbf\xbdPNG", TEXT_MODE),
    (0, b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", TEXT_MODE),
    (0, b"\xc3\xbf\xc3\x98\xc3\xbf", TEXT_MODE),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
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
    (0, b"8BPS", PHOTOSHOP),
    (0, b"gimp xcf", GIMP),
    (0, b"\x76\x2f\x31\x01", OPENEXR),
    (0, b"#?RADIANCE", HDR),
    (0, b"#?RGBE", HDR),
    (0, b"II\xbc", JPEG_XR),
    (0, b"qoif", _picture("a QOI image", "qoi")),
    (0, b"DDS ", _picture("a DDS texture", "dds")),
    (0, b"\0\0\1\0", _picture("a Windows icon", "ico")),
    (0, b"icns", _picture("a macOS icon", "icns")),
    (0, b"P7\n", _picture("a PAM image", "pam")),
    (0, b"Pf\n", PFM),
    (0, b"PF\n", PFM),
    (0, b"\x59\xa6\x6a\x95", _picture("a Sun raster image", "ras")),
    *((0, b"\x0a%c\x01" % version, _picture("a PCX image", "pcx")) for version in (0, 2, 3, 4, 5)),
    *((0, b"\x01\xda%c" % packed, _picture("an SGI image", "sgi")) for packed in (0, 1)),
    (128, b"DICM", DICOM),
    (344, b"n+1\0", NIFTI),
    (0, b"SIMPLE  =", _picture("a FITS file", "fits fit fts")),
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
    *((0, start, AUDIO) for start in (b"ID3", b"fLaC", b"OggS")),
    (0, b"\0\x05\x16\x07", APPLE_DOUBLE),
    (0, b"\0\x05\x16\0", APPLE_DOUBLE),
    (0, b"\0\0\0\x01Bud1", FileKind("a macOS folder setting (.DS_Store)", REMOVE)),
    (0, b"\xd0\xcf\x11\xe0", FileKind("an old office document or Windows thumbnail cache", REMOVE)),
    (0, b"\x4c\0\0\0\x01\x14\x02\0", FileKind("a Windows shortcut", "name the file it refers to")),
    (0, b"\x7fELF", PROGRAM),
    (0, b"MZ", PROGRAM),
)
BLANKS = rb"(?:\s|#[^\n]*\n)+"  # of Netpbm, comments included
# the same as patterns, where a few bytes may also be the beginning of a text
PATTERNS = (
    (rb"RIFF.{4}WEBP", WEBP),
    (rb"RIFF.{4}AVI ", VIDEO),
    (rb"RIFF.{4}WAVE", AUDIO),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", BMP),  # the size of its second header
    (rb"P[1-6]" + (BLANKS + rb"\d+") * 2 + rb"\s", NETPBM),  # width and height
)
BEGINNINGS = (b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n")  # looked for behind other bytes
# brands of the ISO media format, in the bytes after `ftyp`; any other is a video
BRANDS = (
    (("avif", "avis"), AVIF),
    (("heic", "heix", "heim", "heis", "hevc", "hevx", "MiHE"), HEIC),
    (("jxl ",), JPEG_XL),
    (("crx ",), RAW),
    (("M4A ", "M4B "), AUDIO),
)
PROLOGUE = r"(<\?xml[^>]*>\s*)?(<!--((?!-->).)*-->\s*)*"
# pattern at the beginning of a text, without blanks before it -> kind; the first row that fits counts
TEXTS = (
    (r"version https://git-lfs", LFS),
    (r"[./]*git/annex/objects|/annex/objects/", ANNEX),
    (rf"{PROLOGUE}(<!DOCTYPE svg[^>]*>\s*)?<svg", SVG),
    (rf"{PROLOGUE}<(!doctype html|html|head|body|script|title|meta)", HTML),
    (rf"<\?xml|{PROLOGUE}<\w+[\s>]", XML),
    (r"data:image/|/9j/4|iVBORw0KGgo|R0lGODlh|UklGR", BASE64),
    (r"[{\[]\s*[\"{\[\]}\d-]", JSON),
)

# suffix with its dot -> kind
BY_SUFFIX: dict[str, FileKind] = {
    f".{suffix}": kind
    for kind in (*(row[-1] for row in (*SIGNATURES, *PATTERNS, *BRANDS, *TEXTS)), *NAMED)
    for suffix in kind.suffixes.split()
}
# formats that are read as images and as masks
READ = tuple(dict.fromkeys(kind for kind in BY_SUFFIX.values() if kind.is_image))
READ_SUFFIXES = frozenset(suffix for suffix, kind in BY_SUFFIX.items() if kind.is_image)


def find_kind(data: bytes) -> FileKind | None:
    """What a file holds, by its content; None if that is unknown.

    Args:
        data: the file, or its first HEAD bytes.
    """
    for offset, start, kind in SIGNATURES:
        if data.startswith(start, offset):
            return kind
    for pattern, kind in PATTERNS:
        if re.match(pattern, data[:HEAD], re.DOTALL):
            return kind
    if data[4:8] == b"ftyp":
        return _find_brand(data)
    if data[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return VIDEO
    if data and not data.strip(b"\0"):
        return FileKind("nothing but zero bytes, as an interrupted copy leaves them", RESTORE)
    return _find_behind(data[:HEAD]) or _find_text(data[:HEAD])


def _find_brand(data: bytes) -> FileKind:
    """The kind of a file of the ISO media format: by its main brand, or by the others if that says little."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    named = [data[start : start + 4].decode("latin-1") for start in (8, *range(16, end, 4))]
    of_images = {"mif1", "msf1"}  # any codec
    for brand in named if named[0] in of_images else named[:1]:
        for brands, kind in BRANDS:
            if brand in brands:
                return kind
    return HEIC if named[0] in of_images else VIDEO


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
