"""The package's speed, each figure beside its floor in the same run: `python python/benches/speed.py`.

It measures what is installed, so install a release build first: `pip install .`. The package's own way and
plain Python's take turns, so that a machine that gets busier slows both.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.metadata
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

ROUNDS = 300


def shown(what: str, seconds: float, floor: str, floor_seconds: float) -> None:
    figure, beside = seconds * 1e6, floor_seconds * 1e6
    print(f"{what:48} {figure:10.1f} µs   {floor}: {beside:.1f} µs   ({figure / beside:.2f}x)")


async def in_turn(*acts: Callable[[], Awaitable[object]]) -> list[tuple[float, float]]:
    """The median time of each, and that of its fastest tenth, in seconds."""
    times: list[list[float]] = [[] for _ in acts]
    for _ in range(ROUNDS):
        for act, own in zip(acts, times, strict=True):
            before = time.perf_counter()
            await act()
            own.append(time.perf_counter() - before)
    return [(statistics.median(own), statistics.quantiles(own, n=20)[0]) for own in times]


async def consume(directory: str) -> tuple[str, list[tuple[float, float]]]:
    """A command with its durable spend, and what plain Python does for one and one durable line."""
    from linear_agentics.tokens import MultiUseShellToken

    journal = os.open(f"{directory}/journal", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    token = MultiUseShellToken("true", ["/bin/true"], ROUNDS + 1, min_tier="C")

    async def plain() -> None:
        os.write(journal, b"x" * 512)
        os.fdatasync(journal)
        process = await asyncio.create_subprocess_exec(
            "/bin/true", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await process.communicate()

    first = await token.consume("/bin/true")
    return str(first.tier), await in_turn(lambda: token.consume("/bin/true"), plain)


def check() -> tuple[float, float]:
    from linear_agentics.tokens import ShellToken

    token = ShellToken("pods", allowed=["kubectl get pods", "kubectl logs", "kubectl get events"])
    command = "kubectl get pods -n prod -o wide"
    times, splits = [], []
    for _ in range(50):
        before = time.perf_counter()
        for _ in range(200):
            token.check(command)
        times.append((time.perf_counter() - before) / 200)
        before = time.perf_counter()
        for _ in range(200):
            shlex.split(command)
        splits.append((time.perf_counter() - before) / 200)
    return statistics.median(times), statistics.median(splits)


def imported(module: str) -> float:
    code = f"import time; a = time.perf_counter(); import {module}; print(time.perf_counter() - a)"
    line = [sys.executable, "-c", code]
    return statistics.median(float(subprocess.check_output(line)) for _ in range(9))


def without_confinement() -> None:
    """Takes Landlock from this process, as containers' own rules do: without it there is tier C."""
    libc = ctypes.CDLL(None, use_errno=True)

    def word(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
        return code.to_bytes(2, sys.byteorder) + bytes([jump_true, jump_false]) + value.to_bytes(4, sys.byteorder)

    # seccomp(2): the number of the call; 444 is `landlock_create_ruleset`, 38 `ENOSYS`.
    program = word(0x20, 0, 0, 0) + word(0x15, 0, 1, 444) + word(6, 0, 0, 0x50000 | 38) + word(6, 0, 0, 0x7FFF0000)
    instructions = ctypes.create_string_buffer(program)

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("first", ctypes.c_void_p)]

    held = Filter(len(program) // 8, ctypes.addressof(instructions))
    # PR_SET_NO_NEW_PRIVS, and PR_SET_SECCOMP with a filter.
    for order in ((38, 1, 0, 0, 0), (22, 2, ctypes.byref(held), 0, 0)):
        if libc.prctl(*order) != 0:
            raise OSError(ctypes.get_errno(), "the filter can't be set")


def sizes() -> None:
    """What is installed, and how large a wheel of it is."""
    files = importlib.metadata.files("linear-agent-runtime") or []
    paths = [Path(str(file.locate())) for file in files]
    with tempfile.TemporaryFile() as made, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in paths:
            if path.is_file() and "__pycache__" not in path.parts:
                wheel.write(path)
        compressed = sum(entry.compress_size for entry in wheel.infolist())
    whole = sum(path.stat().st_size for path in paths if path.is_file())
    print(f"{'the wheel':48} {compressed / 1e6:10.1f} MB   installed: {whole / 1e6:.1f} MB")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_STATE_HOME"] = directory
        if sys.argv[1:] == ["consume"]:
            if os.environ.get("WITHOUT_CONFINEMENT"):
                without_confinement()
            tier, (own, plain) = asyncio.run(consume(directory))
            for which, ours, theirs in zip(("", ", fastest"), own, plain, strict=True):
                shown(f"consume of /bin/true, durable, tier {tier}{which}", ours,
                      "create_subprocess_exec and one fdatasync", theirs)
            return
        shown("token.check of a command", check()[0], "shlex.split of it", check()[1])
    shown("import linear_agentics", imported("linear_agentics"), "import asyncio", imported("asyncio"))
    sizes()
    sys.stdout.flush()
    for confinement in ("", "without"):
        env = {**os.environ, "WITHOUT_CONFINEMENT": confinement}
        subprocess.run([sys.executable, __file__, "consume"], env=env, check=True)


if __name__ == "__main__":
    main()
