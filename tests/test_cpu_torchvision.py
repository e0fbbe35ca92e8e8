"""The environment's cure: torchvision imports with it, and it does nothing before that."""

import subprocess
import sys

import cpu_torchvision


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_torchvision_imports_in_this_environment():
    # `make` has run the cure where it was needed; accelerate's own command depends on it.
    assert cpu_torchvision.import_error() == ""


def test_the_installed_files_wait_until_torchvision_is_imported(tmp_path):
    cpu_torchvision.install(tmp_path)
    code = (
        "import site, sys; "
        "sys.meta_path[:] = [f for f in sys.meta_path if 'cpu_torchvision' not in type(f).__module__]; "
        f"sys.modules.pop('{cpu_torchvision.NAME}', None); site.addsitedir({str(tmp_path)!r}); "
        f"print(type(sys.meta_path[0]).__name__, 'torch' in sys.modules)"
    )
    done = run(code)
    assert done.stdout.split() == ["_Finder", "False"], done.stderr


def test_the_accelerate_command_starts():
    done = run(
        "import sys; sys.argv = ['accelerate', 'launch', '--help']; "
        "from accelerate.commands.accelerate_cli import main; main()"
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
