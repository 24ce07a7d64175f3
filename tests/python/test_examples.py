"""The examples, run as a person runs them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import KEY, ROOT, StandIn, standin_binary

import linear_agentics


def run(example: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    home = str(Path(linear_agentics.__file__).parents[1])
    # Whoever runs the tests may have keys and settings of their own for these packages.
    theirs = ("ANTHROPIC_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    env |= {**variables, "PYTHONPATH": home}
    line = ["setsid", sys.executable, str(ROOT / "examples" / example), *arguments]
    return subprocess.run(
        line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=180,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("name", ["deploy_service", "sre_triage"])
def test_replays(name: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip(f"{name} needs kubectl, which is not installed")
    ended = run(f"{name}.py", "--replay", LAR_STANDIN=str(standin_binary()))
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "CommandNotAllowedError" in ended.stdout
    if name == "deploy_service":
        # Nobody is there to say yes, so production stays as it was.
        assert "never used: production" in ended.stdout and "denied" in ended.stdout


LOOPS = {
    "anthropic": ("anthropic", "messages"),
    "openai": ("openai", "chat"),
    "langgraph": ("langchain_anthropic", "messages"),
    "pydantic_ai": ("pydantic_ai", "messages"),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_with_the_real_packages(name: str, standin: Callable[..., StandIn]) -> None:
    package, api = LOOPS[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"`{package}` is not installed")
    calls: list[dict[str, Any]] = [
        {"tool": {"id": "toolu_1", "name": "shell_uptime", "input": {"command": "uptime"}}},
        {"tool": {"id": "toolu_2", "name": "shell_disk", "input": {"command": "rm -rf /"}}},
        {"tool": {"id": "toolu_3", "name": "shell_uptime", "input": {"command": "uptime"}}},
    ]
    if name == "pydantic_ai":
        calls = calls[:2]
    server = standin(api, {"key": KEY, "replies": [*calls, {"text": "All is well."}]})
    base = {"ANTHROPIC_BASE_URL": server.url, "OPENAI_BASE_URL": f"{server.url}/v1"}
    ended = run(f"loops/{name}_loop.py", ANTHROPIC_API_KEY=KEY, OPENAI_API_KEY=KEY, **base)
    assert ended.returncode == 0, ended.stderr
    assert "All is well." in ended.stdout
    assert "CommandNotAllowedError" in ended.stdout and "uptime" in ended.stdout
    if len(calls) == 3:
        assert "TokenReusedError" in ended.stdout or "UnknownToolError" in ended.stdout
    assert [request["status"] for request in server.requests(len(calls) + 1)] == [200] * (len(calls) + 1)
