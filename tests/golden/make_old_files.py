"""Files as an earlier revision wrote them: tests/golden/old/REVISION. Run once in a checkout of each.

    cd CHECKOUT && PYTHONPATH=CHECKOUT python -P PROJECT/tests/golden/make_old_files.py /srv/raiha [weights]

and move what it made: stores tell of the folder that they were made in.

With `weights` only what that revision's shipped weight files say of themselves is kept: metadata, names and
shapes. It uses nothing of this project but what the checkout has.
"""

import contextlib
import json
import shutil
import sys
from pathlib import Path

from safetensors import safe_open


def keep_weights(here: Path, out: Path) -> None:
    """The header of each shipped weight file as JSON."""
    for path in sorted((here / "raiha_core" / "models" / "weights").glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors = {
                name: [file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()]
                for name in sorted(file.keys())
            }
            kept = {"metadata": file.metadata(), "tensors": tensors}
        (out / f"{path.stem}.json").write_text(json.dumps(kept, sort_keys=True) + "\n", encoding="utf-8")


def keep_stores(out: Path) -> None:
    """A finished gallery with photos taken out, and one whose build was interrupted."""
    from raiha_core.gallery import shards
    from raiha_core.gallery.build import add, build
    from raiha_core.gallery.remove import remove
    from raiha_core.gallery.store import open_gallery
    from tests.gallery_fakes import FakeEncoder, digest, write_photos

    for name in ("_MOST_PHOTOS", "MOST_PHOTOS"):
        if hasattr(shards, name):
            setattr(shards, name, 4)
    photos = write_photos(out / "photos", 7)
    write_photos(out / "trip", 3, first_seed=40)
    build(photos, out / "store", encoder=FakeEncoder(), group_by="folder")
    add(out / "trip", out / "store", encoder=FakeEncoder())
    remove(out / "store", ["002.png"])
    calls = []

    def stop() -> None:
        calls.append(0)
        if len(calls) > 6:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        build(photos, out / "unfinished", encoder=FakeEncoder(), interrupted=stop, workers=1)
    gallery = open_gallery(out / "store")
    seen = {"digest": digest(gallery), "ids": [photo.id for photo in gallery.photos], "name": gallery.name}
    (out / "seen.json").write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


def keep_checkpoint(out: Path) -> None:
    """A small network with weights by formula."""
    from raiha_core import checkpoint
    from tests.network_cases import fill, small

    network = fill(small("hdnet", width=2)).eval()
    checkpoint.save(out / "hdnet.safetensors", network, checkpoint.describe(network, "hdnet", data="a test"))


def keep_texts(here: Path, out: Path) -> None:
    """Workflows, and lists as that revision writes them."""
    shutil.copytree(here / "workflows" / "api", out / "workflows")
    from raiha_core.data.raharmony4 import Listed, write_references

    listed = [
        Listed(
            input=f"HCOCO/composite_images/c{n}_1_1.jpg",
            mask=f"HCOCO/masks/c{n}_1.png",
            refs=("HCOCO/real_images/c9.jpg", "HFlickr/real_images/f8.jpg"),
        )
        for n in range(3)
    ]
    write_references(out / "references.jsonl", listed)


def main() -> int:
    here, out = Path.cwd(), Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    keep_weights(here, out)
    if "weights" not in sys.argv[2:]:
        keep_stores(out)
        keep_checkpoint(out)
        keep_texts(here, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
