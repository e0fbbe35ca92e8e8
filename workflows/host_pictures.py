"""Whether bytes that a server sent are the picture, or the clip, that it announced."""

import re
import tempfile
from pathlib import Path

from ..raiha_core.codecs.decoding import decode

MOST_BYTES = 2_000_000_000  # of a picture's file
_MOST_PIXELS = 300_000_000
# kind -> how its files begin, and the endings of their names
_KINDS = {
    "png": (rb"\x89PNG\r\n\x1a\n", ("png", "apng")),
    "jpeg": (rb"\xff\xd8\xff", ("jpg", "jpeg", "jpe", "jfif")),
    "webp": (rb"RIFF....WEBP", ("webp",)),
    "tiff": (rb"II\*\x00|MM\x00\*", ("tif", "tiff")),
    "bmp": (rb"BM", ("bmp",)),
    "gif": (rb"GIF8", ("gif",)),
    "avif": (rb"....ftypavi[fs]", ("avif",)),
    "exr": (rb"v/1\x01", ("exr",)),
    "mp4": (rb"....ftyp(?!avi[fs])", ("mp4", "m4v", "mov", "quicktime")),
    "mkv": (rb"\x1aE\xdf\xa3", ("mkv", "webm", "matroska")),
}
_READ = ("png", "jpeg", "webp", "tiff", "bmp")  # by our own decoder, as a whole


def require_picture(data: bytes, name: str, announced: str) -> None:
    """Raises: ValueError naming the file where `data` is no picture or clip, is damaged, or is of another
    kind than its name's ending or the announced media type ("" for none) says.
    """
    kinds = [kind for kind, (start, _) in _KINDS.items() if re.match(start, data, re.DOTALL)]
    if not kinds:
        raise ValueError(f"the server's answer for '{name}' is no picture and no clip")
    (kind,) = kinds
    if Path(name).suffix.lower().lstrip(".") not in _KINDS[kind][1]:
        raise ValueError(f"the server's answer for '{name}' is of another kind: {kind.upper()}")
    said = announced.rpartition("/")[2].removeprefix("x-")
    if announced not in ("", "application/octet-stream") and said not in (kind, *_KINDS[kind][1]):
        raise ValueError(f"the server announced '{name}' as {announced[:40]}, but sent {kind.upper()}")
    if kind in _READ:
        with tempfile.TemporaryDirectory(prefix="raiha-") as folder:
            path = Path(folder, name)
            path.write_bytes(data)
            try:
                decode(path, _MOST_PIXELS)
            except ValueError as error:
                reason = str(error).replace(f"{folder}/", "").replace(f"{folder}\\", "")
                raise ValueError(f"the server's answer for '{name}' cannot be read: {reason}") from None
