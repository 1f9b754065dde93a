"""Packages of npm, as their lock names them."""

import shutil
import subprocess
from pathlib import Path

_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")


def installed(source: Path, folder: Path) -> Path:
    """`folder`, with a copy of the files of `source` and, in `node_modules`, what its lock names.

    No script of a package is run.
    """
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    subprocess.run(_INSTALL, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder
