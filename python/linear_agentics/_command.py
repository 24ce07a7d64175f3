"""The command `lar`, and the program that starts commands."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from ._native import run_command

LAUNCHER = Path(__file__).with_name("lar-launcher")


def main() -> None:
    """Is `lar`, with the arguments of this process."""
    # Ctrl-C is the command's own affair: nothing of Python runs any more that could hear of it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_command(["lar", *sys.argv[1:]]))
