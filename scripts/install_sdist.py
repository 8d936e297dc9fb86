"""Installs a source distribution where there is no checkout, as a user would, and runs it.

    python scripts/install_sdist.py out/sdist/fastconv-*.tar.gz

That the archive has all that the build asks for is shown by this and by nothing less. torch and
the build tools are those of the Python that runs this, the CPU kernels are all that is compiled.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

from wheel_beside_torch import FACTS, run


def main() -> int:
    (archive,) = (Path(argument).resolve() for argument in sys.argv[1:])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        venv.create(folder / "venv")
        python = folder / "venv" / "bin" / "python"
        (packages,) = folder.glob("venv/lib/python*/site-packages")
        # Modules alone: an editable fastconv of that environment is not found through this.
        (packages / "tools.pth").write_text(sysconfig.get_path("purelib") + "\n")
        # torch looks for ninja on the PATH.
        path = f"PATH={Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        how = ("--no-build-isolation", "--no-deps", "--ignore-installed")
        steps = [
            ("env", "FORCE_CUDA=0", path, *pip, *how, archive),
            (python, "-c", FACTS),
            (python, "-m", "fastconv", "info"),
        ]
        for step in steps:
            if run(*step, folder=folder) != 0:
                return 1
    size = archive.stat().st_size
    print(f"{archive.name}: {size:,} B; installed in {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
