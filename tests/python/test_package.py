"""The package itself: its rules, its types, its help, and the README's own words."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, call, turn

import linear_agentics
from linear_agentics import tokens

PACKAGE = ROOT / "python" / "linear_agentics"
SOURCES = sorted(PACKAGE.glob("*.py"))


def test_every_rule_is_the_runtimes() -> None:
    """The package's own Python imports nothing that could judge or act by itself."""
    banned = {"re", "shlex", "subprocess", "httpx", "requests", "urllib", "http", "socket", "sqlite3"}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not banned & {name.split(".")[0] for name in names}, f"{source.name}: {names}"


def test_the_package_is_small() -> None:
    lines = sum(len(source.read_text().splitlines()) for source in SOURCES)
    assert 0 < lines < 600


def test_everything_public_has_help_worth_reading() -> None:
    for module in (linear_agentics, tokens):
        for name in module.__all__:
            if name in ("__version__", "DEFAULT_MODEL"):
                continue
            thing = getattr(module, name)
            doc = thing.__doc__
            assert doc and doc[0].isupper(), f"{name} has no docstring"
            is_error = isinstance(thing, type) and issubclass(thing, (Exception, Warning))
            made_by_hand = name not in ("ApprovalRequest", "CapabilityRequest")
            if not is_error and made_by_hand:
                assert ">>>" in doc, f"{name} has no example"
            for attribute in vars(thing) if isinstance(thing, type) else ():
                if not attribute.startswith("_"):
                    assert getattr(thing, attribute).__doc__ or attribute in (
                        "provider_type", "token_name"), f"{name}.{attribute} has no docstring"


def test_the_words_of_the_api_are_there() -> None:
    for name in (
        "Agent AgentResult CapabilitySet Budget ApprovalGate ApprovalRecord AuditTrail Proof ErrorRecord "
        "NegotiationRecord HumanCapabilityProvider SupervisorAgentProvider TokenError TokenReusedError "
        "TokenScopeError CommandNotAllowedError FileAccessError QueryNotAllowedError "
        "BudgetExhaustedError BudgetTimeoutError ApprovalDeniedError ApprovalTimeoutError LedgerError "
        "SandboxError"
    ).split():
        assert name in linear_agentics.__all__, name
    for name in (
        "LinearToken MultiUseToken ShellToken MultiUseShellToken HttpToken DeployToken FileToken "
        "MultiUseFileToken DatabaseToken MultiUseDatabaseToken SecretToken SecretInjection WaitToken"
    ).split():
        assert name in tokens.__all__ and name in linear_agentics.__all__, name


def run_tool(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec(module.split(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    home = Path(linear_agentics.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(home), "MYPYPATH": str(home)}
    line = [sys.executable, "-m", module, *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=env, check=False)


def test_mypy_is_content() -> None:
    ended = run_tool("mypy")
    assert ended.returncode == 0, ended.stdout


def test_the_stubs_are_what_the_module_is() -> None:
    ended = run_tool("mypy.stubtest", "linear_agentics")
    assert ended.returncode == 0, ended.stdout


def test_pyright_is_content() -> None:
    ended = run_tool("pyright", "--pythonpath", sys.executable)
    if "No such file or directory" in ended.stderr or "npm" in ended.stderr:
        pytest.skip("pyright needs node, which can't be had here")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_importing_is_quick() -> None:
    """Under 80 ms is the aim; here a machine that has much else to do must not fail."""
    code = ("import time; a = time.perf_counter(); import linear_agentics; "
            "print(time.perf_counter() - a)")
    env = {**os.environ, "PYTHONPATH": str(Path(linear_agentics.__file__).parents[1])}
    times = [float(subprocess.check_output([sys.executable, "-c", code], env=env)) for _ in range(3)]
    assert min(times) < 0.5, times


def test_the_extension_asks_for_no_newer_python_than_it_says() -> None:
    assert (PACKAGE / "py.typed").exists()
    from linear_agentics import _native

    assert ".abi3." in str(_native.__file__)


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_the_readmes_python_runs(tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block, word for word. Only the model's turns come from a file, and `await` from a loop."""
    session = tmp_path / "turns.jsonl"
    turns = [turn(call("shell_read-pods", {"command": "kubectl delete pods --all"})), turn("Done.")]
    session.write_text("\n".join(map(json.dumps, turns)))
    found = blocks("python")
    assert found, "the README has no Python block"
    for number, block in enumerate(found):
        body = block.replace("Agent(", f"Agent(llm_model={f'replay:{session}'!r}, ")
        lines = "\n".join(f"    {line}" for line in body.splitlines() if not line.startswith("from "))
        imports = "\n".join(line for line in body.splitlines() if line.startswith("from "))
        ended = program(f"import asyncio\n{imports}\nasync def main():\n{lines}\nasyncio.run(main())\n")
        if "kubectl" in ended.stderr and "SetupError" in ended.stderr:
            pytest.skip(f"block {number} deploys with kubectl, which is not set up here: {ended.stderr[-200:]}")
        assert ended.returncode == 0, f"block {number}\n{ended.stderr}"
        assert "CommandNotAllowedError" in ended.stdout or "Agent(" not in block, ended.stdout


def test_the_command_is_lar_itself(tmp_path: Path) -> None:
    """`lar` of the package starts commands, has its exit codes, and ends by Ctrl-C."""
    line = [sys.executable, "-m", "linear_agentics"]
    shown = subprocess.run([*line, "--version"], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (0, f"lar {linear_agentics.__version__}\n"), shown
    wrong = subprocess.run([*line, "check", tmp_path / "absent.toml"], capture_output=True, text=True,
                           check=False)
    assert wrong.returncode == 2 and "absent.toml" in wrong.stderr
    manifest, session = tmp_path / "m.toml", tmp_path / "s.jsonl"
    manifest.write_text('[agent]\nmodel = "human"\n[budget]\nmax_steps = 5\ntimeout = "1m"\n'
                        '[[token]]\nkind = "shell"\nname = "say"\nallowed = ["echo", "sleep"]\n')
    turns = [turn(call("shell_say", {"command": "echo hello"})), turn("Done.")]
    session.write_text("\n".join(map(json.dumps, turns)))
    run = [*line, "run", manifest, "--replay", session, "--json"]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and '"exit_code": 0' in ended.stdout, ended
    session.write_text(json.dumps(turn(call("shell_say", {"command": "sleep 60"}))))
    going = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(3)
    going.send_signal(signal.SIGINT)
    out, complaint = going.communicate(timeout=30)
    assert going.returncode == 1 and "Traceback" not in complaint, complaint
    assert '"reason": "interrupted"' in out
