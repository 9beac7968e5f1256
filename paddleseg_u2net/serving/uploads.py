"""The bodies of requests: an image as it is, or a form with files and fields."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.server import Server

MULTIPART = "multipart/form-data"
MAX_FIELDS = 64  # of a form, and parameters of an address
MAX_FIELD_BYTES = 4096
BACKGROUND = "background"  # the name of the file that is put behind the objects


@dataclass
class Upload:
    """What a request brought.

    Args:
        files: name and content of each image; names are shown only, never opened.
        fields: parameters of the form.
        background: content of the image that is put behind the objects.
    """

    files: list[tuple[str, bytes]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    background: bytes | None = None

    @property
    def image(self) -> bytes:
        """The only image; ApiFault if there is none, or more than one."""
        if len(self.files) != 1:
            raise ApiFault(
                "bad_request",
                f"expected one image, got {len(self.files)}. "
                "Fix: the image as the body, or a form with one part 'file'; several go to /v1/batch",
            )
        return self.files[0][1]


async def read_upload(request: Request, server: Server) -> Upload:
    """Read the body of a request.

    Raises:
        ApiFault: a body of another type, a broken form, or more files or fields than are allowed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        return await _read_form(request, server.settings.max_files)
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise ApiFault(
            "unsupported_type",
            f"Content-Type {kind[:80]}: expected image/…, application/octet-stream or {MULTIPART}. "
            "Fix: name the type of the image, or leave the header out",
        )
    return Upload([("image", await request.body())])


async def _read_form(request: Request, max_files: int) -> Upload:
    try:
        form = await request.form(
            max_files=max_files + 1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        )
    except HTTPException as error:  # which Starlette makes of a MultiPartException
        code = "too_many_files" if "Too many files" in error.detail else "bad_request"
        raise ApiFault(code, f"the form cannot be read: {error.detail}") from error
    try:
        return await _unpack(form, max_files)
    finally:
        await form.close()


async def _unpack(form: FormData, max_files: int) -> Upload:
    upload = Upload()
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            content = await value.read()
            if name == BACKGROUND and upload.background is None:
                upload.background = content
            elif name in ("file", "files"):
                upload.files.append((value.filename or "image", content))
            else:
                raise ApiFault("bad_request", f"a file in the part '{name[:80]}'. Fix: the part 'file'")
        elif name in upload.fields:
            raise ApiFault("bad_parameter", f"{name[:80]}: given twice. Fix: once")
        else:
            upload.fields[name] = value
    if len(upload.files) > max_files:
        raise ApiFault("too_many_files", f"{len(upload.files)} files, expected at most {max_files}")
    return upload


def parameters_of(request: Request, fields: dict[str, str] | None = None) -> dict[str, str]:
    """The parameters of a request, of its address and its form together.

    Args:
        request: its address is read.
        fields: of its form.

    Raises:
        ApiFault: too many, or one of them twice.
    """
    given = [*request.query_params.multi_items(), *(fields or {}).items()]
    if len(given) > MAX_FIELDS:
        raise ApiFault("bad_parameter", f"{len(given)} parameters, expected at most {MAX_FIELDS}")
    found: dict[str, str] = {}
    for name, value in given:
        if name in found:
            raise ApiFault("bad_parameter", f"{name[:80]}: given twice. Fix: once")
        found[name] = value
    return found
