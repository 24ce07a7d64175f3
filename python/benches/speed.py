"""The package's speed, each figure beside its floor in the same run: `python python/benches/speed.py`.

It measures what is installed, so install a release build first: `pip install .`.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

ROUNDS = 100


def shown(what: str, seconds: float, floor: str, floor_seconds: float) -> None:
    figure, beside = seconds * 1e6, floor_seconds * 1e6
    print(f"{what:48} {figure:10.1f} µs   {floor}: {beside:.1f} µs   ({figure / beside:.2f}x)")


async def timed(act: Callable[[], Awaitable[object]]) -> float:
    """The median time of one round, in seconds."""
    times = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        await act()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


async def floor(directory: str) -> float:
    """What plain Python does for one command and one durable line before it and after it."""
    journal = os.open(f"{directory}/journal", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    async def act() -> None:
        os.write(journal, b"x" * 512)
        os.fdatasync(journal)
        process = await asyncio.create_subprocess_exec(
            "/bin/true", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await process.communicate()

    return await timed(act)


async def consume() -> float:
    from linear_agentics.tokens import MultiUseShellToken

    token = MultiUseShellToken("true", allowed=["/bin/true"], max_uses=ROUNDS + 1)
    await token.consume("/bin/true")
    return await timed(lambda: token.consume("/bin/true"))


def check() -> tuple[float, float]:
    from linear_agentics.tokens import ShellToken

    token = ShellToken("pods", allowed=["kubectl get pods", "kubectl logs", "kubectl get events"])
    command = "kubectl get pods -n prod -o wide"
    times, splits = [], []
    import shlex

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
    return statistics.median(float(subprocess.check_output(line)) for _ in range(7))


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_STATE_HOME"] = directory
        shown("token.check of a command", check()[0], "shlex.split of it", check()[1])
        shown("consume of /bin/true, durable", asyncio.run(consume()),
              "create_subprocess_exec and one fdatasync", asyncio.run(floor(directory)))
    shown("import linear_agentics", imported("linear_agentics"), "import asyncio", imported("asyncio"))


if __name__ == "__main__":
    main()
