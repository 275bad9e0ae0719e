"""What pyproject.toml cannot derive: the packages, and the C sources of the kernels."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

KERNELS = Path("codec/kernels")
FOLDERS = sorted(
    file.parent for top in ("codec", "formats") for file in Path(top).rglob("__init__.py")
)


class BuildPackage(build_py):
    """Leaves this file out of the package, in whose folder it lies."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The modules of a package: its name, the module's, and the file."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if Path(module[2]).name != "setup.py"]


setup(
    cmdclass={"build_py": BuildPackage},
    packages=["dcz", *(".".join(("dcz", *folder.parts)) for folder in FOLDERS)],
    package_dir={"dcz": "."},
    # Without a compiler the extension is left out, and the NumPy backend does the work.
    ext_modules=[
        Extension(
            "dcz.codec.kernels._kernels",
            sources=sorted(map(str, KERNELS.rglob("*.c"))),
            depends=sorted(map(str, KERNELS.rglob("*.h"))),
            include_dirs=sorted({str(header.parent) for header in KERNELS.rglob("*.h")}),
            define_macros=[("Py_LIMITED_API", "0x030b0000")],
            extra_compile_args=["-O3", "-ffp-contract=off"],
            py_limited_api=True,
            optional=True,
        )
    ],
)
