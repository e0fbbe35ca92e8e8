"""Every part of the torture, in the order in which they run."""

from . import disks, files, kills, own, readers, truths

PARTS = (*kills.PARTS, *disks.PARTS, *readers.PARTS, *files.PARTS, *own.PARTS, *truths.PARTS)
