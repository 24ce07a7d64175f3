"""Builds the wheel: `maturin` makes the extension, and `lar`, which starts commands, goes beside it.

Both are built in one target directory and with one profile, so that the runtime is compiled once. An
extension can't start commands by itself: a process with threads of a Python in it is not forked.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from maturin import (  # type: ignore[import-untyped,unused-ignore]
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)
from maturin import build_editable as _editable
from maturin import build_wheel as _wheel
from maturin import prepare_metadata_for_build_editable, prepare_metadata_for_build_wheel

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "python" / "linear_agentics" / "lar"


def build_wheel(directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    _build_lar()
    return _wheel(directory, config_settings, metadata_directory)


def build_editable(directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    _build_lar()
    return _editable(directory, config_settings, metadata_directory)


def _build_lar() -> None:
    """Builds `lar` as `maturin` builds the extension: `MATURIN_PEP517_ARGS="--profile dev"` holds for both."""
    words = shlex.split(os.environ.get("MATURIN_PEP517_ARGS", ""))
    profile = words[words.index("--profile") + 1] if "--profile" in words else "release"
    cargo = os.environ.get("CARGO", "cargo")
    line = [cargo, "build", "--package", "lar", "--bin", "lar", "--profile", profile]
    if shutil.which(cargo) is None:
        raise SystemExit("`cargo` is not found; install Rust (rustup), then install this package again")
    subprocess.run(line, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = target / ("debug" if profile == "dev" else profile) / "lar"
    # A file that runs can't be written to, but it can be replaced.
    PLACE.unlink(missing_ok=True)
    shutil.copy2(built, PLACE)
