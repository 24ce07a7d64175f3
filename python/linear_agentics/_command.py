"""The programs beside this module: the command `lar`, and the launcher of commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("lar")
LAUNCHER = Path(__file__).with_name("lar-launcher")


def main() -> None:
    """Becomes `lar`, with the arguments of this process."""
    try:
        os.execv(PROGRAM, ["lar", *sys.argv[1:]])
    except FileNotFoundError:
        sys.exit(f"`{PROGRAM}` is missing; install the package again")
