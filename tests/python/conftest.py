"""What the tests share: a ledger of their own, the strict stand-ins, and servers on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-ant-test-0123456789abcdef"
LAR = [sys.executable, "-m", "linear_agentics"]


def lar(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the `lar` of the package."""
    ended = subprocess.run([*LAR, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory, so that no test meets another's ledger or yours."""
    directory = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return directory


def call(name: str, tool_input: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """A content block that calls a tool."""
    call.count += 1  # type: ignore[attr-defined]
    identity = f"toolu_{number or call.count}"  # type: ignore[attr-defined]
    return {"type": "tool_use", "id": identity, "name": name, "input": tool_input}


call.count = 0  # type: ignore[attr-defined]


def turn(*blocks: dict[str, Any] | str) -> dict[str, Any]:
    """A model's turn: calls, or words."""
    content = [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]
    stop = "tool_use" if any(b["type"] == "tool_use" for b in content) else "end_turn"
    usage = {"input_tokens": 10, "output_tokens": 5}
    return {"content": content, "stop_reason": stop, "usage": usage}


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., str]:
    """Makes a `replay:FILE` of turns."""

    def write(*turns: dict[str, Any]) -> str:
        path = tmp_path / "session.jsonl"
        path.write_text("\n".join(json.dumps(t) for t in turns))
        return f"replay:{path}"

    return write


@cache
def standin_binary() -> Path:
    """The stand-ins, built once. What `cargo xtask test` has built is taken as it is."""
    if given := os.environ.get("LAR_STANDIN"):
        return Path(given)
    line = ["cargo", "build", "--quiet", "--package", "standin", "--message-format", "json"]
    try:
        built = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("the stand-ins need `cargo`, which is not installed")
    artifacts = map(json.loads, built.stdout.splitlines())
    return Path(next(a["executable"] for a in artifacts if a.get("executable")))


@dataclass
class StandIn:
    """A running stand-in; its requests are in the log once they are answered."""

    url: str
    log: Path
    process: subprocess.Popen[str] = field(repr=False)

    def requests(self, count: int = 0) -> list[dict[str, Any]]:
        """What it was asked; waits until it has written down so many."""
        until = time.monotonic() + 10
        while len(self.log.read_text().splitlines()) < count and time.monotonic() < until:
            time.sleep(0.02)
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    """Starts a strict stand-in: `messages` or `chat` with replies, `kube` with a script."""
    running: list[StandIn] = []

    def start(which: str, script: dict[str, Any], *more: str) -> StandIn:
        number = len(running)
        path, log = tmp_path / f"script{number}.json", tmp_path / f"requests{number}.jsonl"
        path.write_text(json.dumps(script))
        log.touch()
        process = subprocess.Popen(
            [standin_binary(), which, "--script", path, "--log", log, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        running.append(StandIn(line.removeprefix("listening on ").strip(), log, process))
        return running[-1]

    yield start
    for one in running:
        assert one.process.stdin is not None and one.process.stdout is not None
        one.process.stdin.close()
        one.process.wait(10)
        one.process.stdout.close()


@dataclass
class Site:
    """A server on loopback, and what it was asked."""

    url: str
    seen: list[tuple[str, str, dict[str, str], bytes]]


@pytest.fixture
def site() -> Iterator[Site]:
    """Answers `ok` to everything but `/moved`, which redirects, and `/broken`, a 500."""
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append((self.command, self.path, dict(self.headers), body))
            status = {"/moved": 302, "/broken": 500}.get(self.path, 200)
            self.send_response(status)
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield Site(f"http://127.0.0.1:{server.server_address[1]}", seen)
    server.shutdown()
    server.server_close()


@pytest.fixture
def program(tmp_path: Path, state: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a Python of its own, and returns what came of it."""

    def run(text: str, *flags: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "program.py"
        path.write_text(text)
        line = [sys.executable, *flags, str(path)]
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False)

    return run
