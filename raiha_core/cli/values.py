"""Values of options that several commands share: checked while the call is parsed, before any work.

A value that is wrong makes a wrong call (exit code 2), and the sentence names option and value.
"""

import argparse

import torch


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got '{text}'") from None


def share(text: str) -> float:
    """A number in 0..1. Raises: ArgumentTypeError, as all of these, in words for the user."""
    value = _number(text)
    if not 0 <= value <= 1:  # also catches NaN
        raise argparse.ArgumentTypeError(f"must lie in 0..1, got {text}")
    return value


def strength(text: str) -> float:
    """A number in 0..2."""
    value = _number(text)
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"must lie in 0..2, got {text}")
    return value


def reference_strength(text: str) -> float:
    """A number in 0..1, or -1."""
    return -1.0 if _number(text) == -1 else share(text)


def not_negative(text: str) -> float:
    """A number of at least 0."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text}")
    return value


def context(text: str) -> float:
    """A number of at least 0, or -1."""
    return -1.0 if _number(text) == -1 else not_negative(text)


def pixels(text: str) -> int:
    """A whole number of pixels, which may be negative."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number of pixels, got '{text}'") from None


def threshold(text: str) -> float:
    """A number in (0, 1]: a threshold of 0 would let everything through."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must lie in (0, 1], got {text}")
    return value


def count(text: str) -> int:
    """A whole number, at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got '{text}'")
    return value


def label(text: str) -> int:
    """A code of a mask of labels: a whole number in 0..65535."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number in 0..65535, got '{text}'")
    return int(text)


def device(text: str) -> str:
    """A device that this machine has, by torch's name for it: tried, because a name alone says nothing."""
    try:
        torch.zeros(1, device=text).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):  # a build without CUDA asserts
        raise argparse.ArgumentTypeError(f"this machine has no device '{text}'") from None
    return text
