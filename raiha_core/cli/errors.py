"""Errors in words for the user."""

# torch has no type of its own for the CPU's
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def sentence(error: BaseException) -> str:
    """What the user is told. The system's own errors say which file, without Python's "[Errno 2]"."""
    if isinstance(error, OSError) and error.strerror:
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([" -> ".join(named), error.strerror] if named else [error.strerror])
    return " ".join(str(error).split())


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine was too small, which is no bug."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(part in text for part in _NO_MEMORY)
