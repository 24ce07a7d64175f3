"""Tasks, threads, loops, signals, forks and the end of the program."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from conftest import call, lar, turn

from linear_agentics import Agent, Budget, CapabilitySet, Proof, TokenReusedError
from linear_agentics.tokens import MultiUseShellToken, ShellToken, WaitToken


def tally(results: list[Any]) -> tuple[int, set[type]]:
    proofs = [result for result in results if isinstance(result, Proof)]
    return len(proofs), {type(result) for result in results if not isinstance(result, Proof)}


async def test_a_thousand_tasks_spend_one_use_once() -> None:
    token = ShellToken("once", allowed=["true"])
    results = await asyncio.gather(
        *(token.consume("true") for _ in range(1000)), return_exceptions=True
    )
    assert tally(results) == (1, {TokenReusedError})


def test_eight_threads_with_a_thousand_tasks_spend_one_use_once() -> None:
    token, results = ShellToken("once", allowed=["true"]), []

    async def many() -> list[Any]:
        return await asyncio.gather(
            *(token.consume("true") for _ in range(125)), return_exceptions=True
        )

    threads = [threading.Thread(target=lambda: results.extend(asyncio.run(many()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(results) == 1000 and tally(results) == (1, {TokenReusedError})


async def test_a_thousand_uses_at_once_are_a_thousand_proofs() -> None:
    token = WaitToken("w", 1, max_uses=1000)
    results = await asyncio.gather(*(token.consume(0) for _ in range(1000)))
    assert tally(list(results)) == (1000, set()) and token.consumed
    assert len({proof.attempt for proof in results}) == 1000


def test_a_thousand_commands_at_once_need_few_descriptors(program: Any) -> None:
    ended = program(PROGRAM + """
import collections, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
token = MultiUseShellToken("m", ["true"], 1000)
async def main():
    proofs = await asyncio.gather(*(token.consume("true") for _ in range(1000)))
    print(*collections.Counter(proof.outcome for proof in proofs).items(), token.uses_remaining)
asyncio.run(main())
""", timeout=300)
    assert ended.stdout == "('succeeded', 1000) 0\n", ended


async def test_the_loop_goes_on_while_a_command_runs() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await ShellToken("s", allowed=["sleep"]).consume("sleep 0.5")
    ticking.cancel()
    assert ticks > 10


async def test_a_call_is_a_coroutine_that_starts_when_it_is_awaited() -> None:
    token = WaitToken("w", 1, max_uses=2)
    pending = token.consume(0)
    assert isinstance(pending, Coroutine)
    await asyncio.sleep(0.05)
    assert token.uses_remaining == 2
    async with asyncio.TaskGroup() as group:
        group.create_task(pending)
        group.create_task(token.consume(0))
    assert token.consumed


async def test_a_call_that_is_cancelled_before_its_spend_gives_everything_back() -> None:
    from linear_agentics import ApprovalGate, ApprovalRequest

    asked = asyncio.Event()

    class Slow(ApprovalGate):
        async def request_approval(self, request: ApprovalRequest) -> bool:
            asked.set()
            await asyncio.sleep(60)
            return True

    token = ShellToken("s", allowed=["true"], requires_approval=True)
    capabilities = CapabilitySet([token], approval_gate=Slow())
    pending = asyncio.create_task(token.consume("true"))
    await asked.wait()
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    for _ in range(100):
        if token.uses_remaining == 1:
            break
        await asyncio.sleep(0.02)
    assert token.uses_remaining == 1 and token.proof is None
    assert capabilities.unused_tokens() == ["s"]


async def test_a_call_that_is_cancelled_after_its_spend_is_sealed() -> None:
    token = ShellToken("s", allowed=["sleep"])
    capabilities = CapabilitySet([token])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(token.consume("sleep 1"), 0.5)
    assert token.consumed
    trail = await capabilities.close()
    assert trail is not None
    [proof] = trail.proofs
    assert (proof.outcome, proof.exit_code) == ("succeeded", 0)
    assert token.proof is not None and token.proof.seq == proof.seq


async def test_cancelling_a_run_stops_it_and_seals_its_record() -> None:
    started = asyncio.Event()

    async def model(_: dict[str, Any]) -> Any:
        return turn(call("shell_s", {"command": "sleep 60"}))

    def watch(event: dict[str, Any]) -> None:
        if event["type"] == "call_started":
            started.set()

    capabilities = CapabilitySet([ShellToken("s", allowed=["sleep"])])
    agent = Agent(capabilities, Budget(5, 1), model, on_event=watch)
    running = asyncio.create_task(agent.run())
    await started.wait()
    await asyncio.sleep(0.3)
    with pytest.raises(TokenReusedError.__mro__[1], match="an agent is running"):
        await capabilities.dispatch("shell_s", {"command": "sleep 1"})
    before = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - before < 10
    trail = await capabilities.audit_trail()
    assert trail is not None and trail.to_dict()["run"]["stop_reason"] == "error"
    assert [proof.outcome for proof in trail.proofs] == ["unknown"]


def test_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    token = MultiUseShellToken("m", allowed=["echo"], max_uses=20)

    async def many() -> list[Proof]:
        return await asyncio.gather(*(token.consume(f"echo {n}") for n in range(20)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        proofs = runner.run(many())
    assert sorted(int(proof.output) for proof in proofs) == list(range(20))


PROGRAM = """
import asyncio, os, signal, sys, threading, time
from linear_agentics import *
from linear_agentics.tokens import *
"""


def test_ctrl_c_stops_a_run_and_seals_it(program: Any) -> None:
    ended = program(PROGRAM + """
# Whoever runs the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
async def model(request):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    return {"content": [{"type": "tool_use", "id": "t", "name": "shell_s",
            "input": {"command": "sleep 60"}}], "stop_reason": "tool_use"}
capabilities = CapabilitySet([ShellToken("s", allowed=["sleep"])])
try:
    asyncio.run(Agent(capabilities, Budget(5, 1), model).run())
except KeyboardInterrupt:
    trail = asyncio.run(capabilities.audit_trail())
    print(trail.to_dict()["run"]["stop_reason"], trail.proofs[0].outcome, trail.proofs[0].reason)
""")
    assert (ended.returncode, ended.stdout) == (0, "error unknown interrupted\n"), ended
    assert ended.stderr == ""


def test_what_still_goes_on_at_the_end_is_stopped_and_sealed(program: Any) -> None:
    before = time.monotonic()
    ended = program(PROGRAM + """
token = ShellToken("s", allowed=["sleep"])
async def main():
    asyncio.create_task(token.consume("sleep 80"))
    await asyncio.sleep(0.7)
asyncio.run(main())
print("left")
""")
    assert (ended.returncode, ended.stdout) == (0, "left\n"), ended
    assert time.monotonic() - before < 40
    runs = json.loads(lar("audit", "list", "--json").stdout)
    runs = runs["runs"] if isinstance(runs, dict) else runs
    trail = json.loads(lar("audit", "show", runs[0]["run"], "--json").stdout)
    assert trail["run"]["stop_reason"] == "error"
    assert [(proof["outcome"], proof["reason"]) for proof in trail["proofs"]] == [("unknown", "interrupted")]


def test_results_that_arrive_while_the_program_ends_break_nothing(tmp_path: Path) -> None:
    """A thread of ours that were inside Python while it ends would bring the process down."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM + """
token = WaitToken("w", 1, max_uses=400)
async def main():
    pending = [asyncio.ensure_future(token.consume(0)) for _ in range(200)]
    await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
sys.setswitchinterval(1e-6)
asyncio.run(main())
""")
    running = [subprocess.Popen([sys.executable, path], stderr=subprocess.PIPE, text=True)
               for _ in range(8)]
    for one in running:
        _, complaint = one.communicate(timeout=120)
        assert one.returncode == 0, complaint
        # A result can come between the loop's last look and its end; the bridge prints that, no more.
        assert not complaint or complaint.rstrip().endswith("RuntimeError: Event loop is closed")


@pytest.mark.parametrize("flags", [(), ("-X", "dev"), ("-W", "error")])
def test_tokens_at_the_end_of_a_program_break_nothing(program: Any, flags: tuple[str, ...]) -> None:
    ended = program(PROGRAM + """
token = ShellToken("never used", allowed=["true"]) if False else ShellToken("unused", allowed=["true"])
capabilities = CapabilitySet([WaitToken("w", 1), WaitToken("v", 1)])
asyncio.run(capabilities.dispatch("wait_w", {"seconds": 0}))
cycle = [token]; cycle.append(cycle)
print("done")
""", *flags)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended
    assert "Traceback" not in ended.stderr and "panicked" not in ended.stderr


def test_a_fork_gets_a_clear_error_and_does_not_hang(program: Any) -> None:
    ended = program(PROGRAM + """
token = MultiUseShellToken("m", allowed=["true"], max_uses=2)
asyncio.run(token.consume("true"))
sys.stdout.flush()
if os.fork() == 0:
    for attempt in (lambda: asyncio.run(token.consume("true")), lambda: token.check("true"),
                    lambda: asyncio.run(ShellToken("own", allowed=["true"]).consume("true")),
                    lambda: CapabilitySet([token])):
        try:
            attempt()
        except ForkedError as error:
            print("forked:", str(error)[:40], flush=True)
    sys.exit(0)
_, status = os.wait()
print(asyncio.run(token.consume("true")).outcome, status, token.consumed)
""", timeout=60)
    lines = ended.stdout.splitlines()
    assert len([line for line in lines if line.startswith("forked:")]) == 4, ended
    assert lines[-1] == "succeeded 0 True"


def test_a_fork_before_the_first_call_may_use_its_own_tokens(program: Any) -> None:
    ended = program(PROGRAM + """
if os.fork() == 0:
    print(asyncio.run(ShellToken("own", allowed=["true"]).consume("true")).outcome, flush=True)
    sys.exit(0)
os.wait()
print(asyncio.run(ShellToken("own", allowed=["true"]).consume("true")).outcome)
""", timeout=60)
    assert ended.stdout == "succeeded\nsucceeded\n", ended
