"""What a gallery knows about a photo."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """One photo of a gallery."""

    id: str  # posix path relative to the photo folder; unique; ties in a ranking break by it
    path: str  # where the file lies now; "" for a picture that has no file
    size: int  # bytes
    mtime_ns: int
    sha256: str  # of the file's bytes; equal for duplicates
    width: int  # pixels, as shown (after EXIF orientation)
    height: int
    group: str = ""  # photos of one group (sequence, camera, source picture) exclude each other; "" = none
