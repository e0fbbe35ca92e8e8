"""Every part of the torture, in the order in which they run."""

from . import disks, files, kills, kills_runs, own, planted, readers, soak, soak_comfyui, strangers, truths

PARTS = (
    *kills.PARTS,
    *kills_runs.PARTS,
    *disks.PARTS,
    *readers.PARTS,
    *files.PARTS,
    *own.PARTS,
    *strangers.PARTS,
    *truths.PARTS,
    *soak.PARTS,
    *soak_comfyui.PARTS,
    *planted.PARTS,
)
