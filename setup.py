"""The one compiled file of the package; everything else is said in pyproject.toml.

It is optional: without a C compiler the package installs all the same, and torch does what it does. It is
no module of Python's (raiha_core/retrieval/kernel.py loads it), so that one build serves every Python.
"""

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNEL = Extension(
    "raiha_core.retrieval.kernel",
    ["raiha_core/retrieval/kernel.c"],
    optional=True,
    extra_compile_args=["-O3"],
)


class BuildLibrary(build_ext):
    """Builds a plain shared library where setuptools would build a module."""

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".compiled"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []


setup(ext_modules=[KERNEL], cmdclass={"build_ext": BuildLibrary})
