"""Builds the wheel: `maturin` makes the extension, and `lar-launcher` goes beside it.

An extension can't start commands by itself: a process with the threads of a Python in it is not forked. Both
are built in one target directory and with one profile, `release` unless `MATURIN_PEP517_ARGS="--profile dev"`
says otherwise.
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
PLACE = ROOT / "python" / "linear_agentics" / "lar-launcher"


def build_wheel(directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    _build_launcher()
    return _wheel(directory, config_settings, metadata_directory)


def build_editable(directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    _build_launcher()
    return _editable(directory, config_settings, metadata_directory)


def _build_launcher() -> None:
    """Builds the launcher as `maturin` is about to build the extension."""
    words = shlex.split(os.environ.get("MATURIN_PEP517_ARGS", ""))
    profile = words[words.index("--profile") + 1] if "--profile" in words else "release"
    cargo = os.environ.get("CARGO", "cargo")
    if shutil.which(cargo) is None:
        raise SystemExit("`cargo` is not found; install Rust (rustup), then install this package again")
    line = [cargo, "build", "--package", "lar-sandbox", "--bin", "lar-launcher", "--profile", profile]
    subprocess.run(line, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = target / ("debug" if profile == "dev" else profile) / "lar-launcher"
    # A file that runs can't be written to, but it can be replaced.
    PLACE.unlink(missing_ok=True)
    shutil.copy2(built, PLACE)
