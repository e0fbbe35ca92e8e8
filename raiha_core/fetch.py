"""Bring the authors' weights of a published network here: only when asked, and verified before it is read.

A repository names each file by git's digest of its content, so a file that nobody here has ever seen is
known to be the right one before a byte of it is parsed. What comes is kept between tries and between
calls, so that a broken line costs nothing but time.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep

from . import checkpoint
from .checkpoint import Metadata
from .convert import blob_digest, convert
from .durable import make_folder
from .models.cost import on_meta, parameters
from .models.presets import FETCHABLE, filed
from .models.published import Published

HOST = "https://raw.githubusercontent.com"
TRIES = 5
PATIENCE = 30.0  # seconds without a byte before a try is given up
_BLOCK = 1 << 16
# bytes that are here, bytes in all where the server says so
DownloadProgress = Callable[[int, int | None], None]


class _WrongError(ValueError):
    """A try that no further try will mend."""


class _BrokenError(Exception):
    """A try that the next may mend; says what happened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A converted file of weights, and what it says about itself."""

    path: Path
    metadata: Metadata
    was_here: bool  # nothing had to be brought


def card_of(name: str) -> Published:
    """What is known of a network whose weights can be brought.

    Raises: ValueError saying what can be brought, or how else the file comes here.
    """
    entry = filed().get(name)
    if entry is None or entry.published is None:
        raise ValueError(f"nothing can be brought for '{name}'; these can: {', '.join(FETCHABLE)}")
    if not entry.published.can_be_fetched:
        raise ValueError(entry.published.by_hand)
    return entry.published


def fetch(
    name: str,
    folder: Path,
    *,
    mirror: str | None = None,
    source: Path | None = None,
    report: DownloadProgress = lambda have, size: None,
) -> Fetched:
    """The weights of a published network as `folder`/NAME.safetensors.

    Args:
        mirror: an address under which OWNER/REPOSITORY/COMMIT/FILE lie; None is GitHub.
        source: the authors' file where it is on disk already; it is verified too, and left where it is.
        report: called as bytes arrive.
    Raises: ValueError where nothing can be brought for the name, the file is another one than the
        authors', or it could not be brought; OSError where the folder cannot be written.
    """
    card = card_of(name)
    assert card.file is not None
    target = folder / f"{name}.safetensors"
    if (metadata := _here(target, card)) is not None:
        return Fetched(path=target, metadata=metadata, was_here=True)
    make_folder(folder)
    if source is not None:
        _verify(source, card, str(source))
        return _converted(name, source, target, source.name)
    base = (mirror or HOST).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise ValueError(f"a mirror must be an address that begins with http:// or https://, got {mirror}")
    part = folder / f".{name}-{card.blob}.part"
    most = 16 * parameters(on_meta(filed()[name])) + (1 << 24)  # room for an optimiser's state beside it
    url = f"{base}/{card.repository}/{card.commit}/{card.file}"
    _bring(url, part, card, most, report)
    try:
        return _converted(name, part, target, Path(card.file).name)
    except ValueError as error:  # of a file that will be gone
        raise ValueError(str(error).replace(str(part), url)) from None
    finally:
        part.unlink(missing_ok=True)


def _here(target: Path, card: Published) -> Metadata | None:
    """What is there already, if it is the authors' own file converted."""
    with suppress(OSError, ValueError):
        metadata = checkpoint.read_metadata(target)
        if metadata.notes.get("git_blob") == card.blob:
            return metadata
    return None


def _converted(name: str, path: Path, target: Path, called: str) -> Fetched:
    network, metadata = convert(path, name)
    metadata = replace(metadata, notes=metadata.notes | {"converted_from": called})
    checkpoint.save(target, network, metadata)
    return Fetched(path=target, metadata=metadata, was_here=False)


def _verify(path: Path, card: Published, what: str) -> None:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if (found := blob_digest(path)) != card.blob:
        raise ValueError(
            f"{what} is another file than the authors' {card.file}: its git digest is {found}, "
            f"theirs is {card.blob}"
        )


def _bring(url: str, part: Path, card: Published, most: int, report: DownloadProgress) -> None:
    """Fill `part` until it is the file that the digest names; a wrong file leaves nothing."""
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            sleep(min(2.0 ** (attempt - 1), 8.0))
        fresh = not part.is_file() or part.stat().st_size == 0
        whole = True
        try:
            _receive(url, part, most, report)
        except _BrokenError as error:
            whole, reason = False, str(error)
        except _WrongError:
            part.unlink(missing_ok=True)
            raise
        if part.is_file() and blob_digest(part) == card.blob:
            return
        if whole:  # all that the server has, and it is not the file: what was here may be of another
            try:
                _verify(part, card, url)
            except ValueError as error:
                if fresh:
                    raise
                reason = str(error)
            finally:
                part.unlink(missing_ok=True)
    raise ValueError(
        f"{url} could not be brought in {TRIES} tries: {reason}; the same call goes on from what is here"
    )


def _receive(url: str, part: Path, most: int, report: DownloadProgress) -> None:
    """One try: ask for what is missing, and append it.

    Raises: _BrokenError where another try may help; _WrongError where none will.
    """
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "raiha", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            if have and not _continues(answer, have):
                have = 0
            length = answer.headers.get("Content-Length", "")
            size = have + int(length) if length.isdecimal() else None
            if size is not None and size > most:
                raise _WrongError(f"{url} claims {size:,} bytes, more than that file can have")
            with open(part, "ab" if have else "wb") as file:
                while block := answer.read(_BLOCK):
                    have += len(block)
                    if have > most:
                        raise _WrongError(f"{url} sends more than that file can have ({most:,} bytes)")
                    file.write(block)
                    report(have, size)
            if size is not None and have < size:
                raise _BrokenError(f"the line broke after {have:,} of {size:,} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing, so the server says
            return
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _BrokenError(f"the server answers {error.code}") from error
        raise _WrongError(f"{url} cannot be had: the server answers {error.code}") from error
    except TimeoutError as error:
        raise _BrokenError(f"nothing came for {PATIENCE:g} seconds") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _BrokenError(f"nothing came for {PATIENCE:g} seconds") from error
        raise _BrokenError("the server cannot be reached") from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise _BrokenError("the line broke") from error


def _continues(answer: http.client.HTTPResponse, have: int) -> bool:
    """Whether the server goes on where we stopped, and does not begin again."""
    return answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
