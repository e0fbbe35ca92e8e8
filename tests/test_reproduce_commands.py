"""The commands of docs/reproduce.md, as written, on a miniature iHarmony4: bash reads them, we run them.

The miniature has no photo of the same things in other light, so these lists are filled. Trainings are cut
to two steps of a tiny network, tables to one draw of references under protocol B, and DVT is one block at
112 pixels with formula weights; what a reader brings (outputs of other methods, a published network) is
made here.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.cli import main as cli
from raiha_core.features.encoder_files import WEIGHTS_VARIABLE
from raiha_train.evaluation import evaluate, method_table, reproduce
from raiha_train.lists import build_raharmony4
from raiha_train.loop import train
from tests.published_weights import state
from tests.test_paper_road import dvt, dvt_files  # noqa: F401  fixtures
from tests.tiny_iharmony4 import make, save

ROOT = Path(__file__).parents[1]
MAINS = {
    "train/train.py": train.main,
    "train/evaluate.py": evaluate.main,
    "train/reproduce.py": reproduce.main,
    "train/build_raharmony4.py": build_raharmony4.main,
    "train/method_table.py": method_table.main,
}
SHORT = ["batch=2", "micro_batch=2", "steps=2", "size=64", "packed=64", "network.width=4"]
# each command writes its words and the variable, one call a line
RECORDER = """
record() { python3 -c 'import json, os, sys
print(json.dumps([os.environ.get("RAIHA_ENCODER_WEIGHTS"), *sys.argv[1:]]))' "$@"; }
for name in pip raiha python accelerate; do eval "$name() { record $name \\"\\$@\\"; }"; done
"""

pytestmark = [
    pytest.mark.usefixtures("one_thread", "no_curves"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash reads the commands"),
]


def commands() -> list[list[str]]:
    """The variable and the words of each command, in the order of the page."""
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = RECORDER + "set -e\n" + "\n".join(blocks)
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def outputs_of_others(root: Path, folder: Path) -> None:
    """Composites as another method's outputs: at full size for PCTNet, at 256 pixels for DoveNet."""
    for line in (root / "IHD_test.txt").read_text().splitlines():
        picture = Image.open(root / line)
        stem = Path(line).stem
        for name, made in (("PCTNet", picture), ("DoveNet", picture.resize((256, 256)))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            made.save(folder / name / f"{stem}{'_harmonized' if name == 'DoveNet' else ''}.png")


def training_composites(root: Path) -> None:
    """What IHD_train.txt names: each photo of the pool, darker over a square."""
    for line in (root / "IHD_train.txt").read_text().splitlines():
        subset, _, file = line.split("/")
        real = photo_of(root / subset / "real_images" / f"{file.split('_')[0]}.jpg")
        mask = np.zeros(real.shape[:2], np.uint8)
        mask[10:24, 8:40] = 255
        save(root / subset / "masks" / f"{file[: -len('_1.jpg')]}.png", mask)
        save(root / line, np.where(mask[..., None] > 0, real // 2, real))


def photo_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture
def tree(tmp_path, monkeypatch, dvt) -> Path:  # noqa: F811
    """Where a reader stands: iHarmony4, DVT, train/ and outputs/ beside each other."""
    root = make(tmp_path / "iHarmony4")
    lines = (root / "refs.jsonl").read_text().splitlines()[:2]
    (root / reproduce.LIST).write_text("".join(line + "\n" for line in lines))
    (root / "IHD_test.txt").write_text("".join(json.loads(line)["input"] + "\n" for line in lines))
    training_composites(root)
    outputs_of_others(root, tmp_path / "outputs")
    (tmp_path / "DVT").symlink_to(dvt, target_is_directory=True)
    (tmp_path / "train").symlink_to(ROOT / "train", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAIHA_MODELS", str(tmp_path / "models"))
    torch.save(state("pctnet-cnn"), tmp_path / "pctnet.pth")
    kept = tmp_path / "models" / "pctnet-cnn.safetensors"
    kept.parent.mkdir()
    assert cli(["convert", str(tmp_path / "pctnet.pth"), "-o", str(kept)]) == 0
    return tmp_path


def run(words: list[str]) -> int:
    """One command in this process; what takes long is cut short."""
    program, *rest = words
    if program == "pip":
        return 0
    if program == "raiha":
        return cli(rest)
    if program == "accelerate":
        assert rest[0] == "launch"
        rest = rest[1:]
    script, *arguments = rest
    if script == "train/train.py":
        share = [] if "raiha_paper_data" in arguments[0] else ["validation_share=0.4"]  # of five photos
        arguments += ["--tracker", "none", "--set", *SHORT, *share]
    if script == "train/reproduce.py":
        arguments += ["--seeds", "1", "--protocols", "B"]
    return MAINS[script](arguments)


def test_every_command_of_the_page_runs_as_written(tree, monkeypatch, capsys):
    listed = commands()
    assert len(listed) > 15
    for weights, *words in listed:
        monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
        if weights is not None:
            monkeypatch.setenv(WEIGHTS_VARIABLE, weights)
        code = run(words)
        assert code == 0, (words, capsys.readouterr().err)
        if "--appearance-below" in words:
            made = tree / words[words.index("--out") + 1] / "references.jsonl"
            made.write_text((tree / "iHarmony4" / reproduce.LIST).read_text())
    for path in ("table2/table2.md", "table3/table3.md", "table2_strict/table2.md"):
        page = (tree / "runs" / path).read_text(encoding="utf-8")
        ours = [line for line in page.splitlines() if "Raiha (ours" in line]
        assert ours, path
        assert not [line for line in ours if "no checkpoint" in line], path
    trained = tree / "runs" / "raiha"
    assert (trained / "last.safetensors").is_file()
    assert not (trained / "best.safetensors").exists()  # nothing was held out
    assert (tree / "runs" / "methods_C" / "cost.png").is_file()
