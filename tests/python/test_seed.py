"""The words in which people first wrote it, run as they stand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import KEY, StandIn

FIRST = '''
from linear_agentics import Agent, CapabilitySet, Budget
from linear_agentics.tokens import ShellToken, HttpToken, DeployToken

capabilities = CapabilitySet([
    ShellToken("read-pods", allowed=["kubectl get pods"]),
    HttpToken("check-health", url="https://api.internal/health", methods=["GET"]),
    DeployToken("deploy-prod", method="kubectl", target="production",
                image="myservice:v2.3.1", requires_approval=True),
])

agent = Agent(
    capabilities=capabilities,
    budget=Budget(max_steps=20, timeout_minutes=15),
    system_prompt="Deploy myservice v2.3.1 safely.",
)

result = await agent.run()
print(result.audit_trail.to_json())
'''

OTHERS = '''
from linear_agentics import Budget, CapabilitySet
from linear_agentics.tokens import *

capabilities = CapabilitySet([
    MultiUseShellToken("diagnostics", allowed=["kubectl get pods", "kubectl logs"], max_uses=5),
    HttpToken("health-check", url="https://staging.internal/health", methods=["GET"]),
    DeployToken("staging", method="kubectl", target="staging", image="app:v2.3.1"),
    DeployToken("production", method="kubectl", target="production",
                image="app:v2.3.1", rollback_to="app:v2.3.0", requires_approval=True),
])
triage = CapabilitySet([
    MultiUseShellToken("pods", allowed=["kubectl get pods", "kubectl describe pod"], max_uses=5),
    MultiUseShellToken("logs", allowed=["kubectl logs"], max_uses=5),
    MultiUseShellToken("events", allowed=["kubectl get events"], max_uses=3),
    HttpToken("health", url="https://api.internal/health", methods=["GET"]),
])
database = CapabilitySet([
    MultiUseShellToken("read-db", allowed=["psql -c 'SELECT"], max_uses=10),
    ShellToken("run-migration", allowed=["flyway migrate"], requires_approval=True),
])
budget = Budget(max_steps=20, timeout_minutes=15)
ShellToken("logs", allowed=["kubectl logs"])
MultiUseShellToken("read", allowed=["kubectl get"], max_uses=5)
DeployToken("prod", method="kubectl", target="production", image="app:v2")
'''


def wrapped(text: str) -> str:
    """The text within a coroutine, as `python -m asyncio` and notebooks run it."""
    lines = text.splitlines()
    imports = [line for line in lines if line.startswith("from ")]
    body = [f"    {line}" for line in lines if not line.startswith("from ")]
    return "\n".join(["import asyncio", *imports, "async def main():", *body, "asyncio.run(main())"])


def test_the_first_example_word_for_word(
    standin: Callable[..., StandIn], program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("the first example needs kubectl, which is not installed")
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"deployments": [{"namespace": "production", "name": "myservice",
                                "containers": {"myservice": "myservice:v2.3.0"}}]}
    standin("kube", cluster, "--kubeconfig", str(kubeconfig))
    replies = [
        {"tool": {"id": "t1", "name": "shell_read-pods", "input": {"command": "kubectl delete pods --all"}}},
        {"tool": {"id": "t2", "name": "deploy_deploy-prod", "input": {}}},
        {"tool": {"id": "t3", "name": "check-health", "input": {"method": "DELETE"}}},
        {"text": "Nobody approved it."},
    ]
    model = standin("messages", {"key": KEY, "replies": replies})
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", model.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    # In a session of its own, so that nobody can be asked at a terminal.
    ended = program(f"import os\nif os.getpid() != os.getsid(0): os.setsid()\n{wrapped(FIRST)}")
    assert ended.returncode == 0, ended.stderr
    trail = json.loads(ended.stdout)
    assert trail["run"]["stop_reason"] == "complete", trail["run"]
    assert [error["error_type"] for error in trail["errors"]] == [
        "CommandNotAllowedError", "ApprovalDeniedError", "TokenScopeError"]
    assert [approval["approved"] for approval in trail["approvals"]] == [False]
    assert trail["proofs"] == []


def test_the_other_ways_in_which_people_write_it(program: Any) -> None:
    ended = program(OTHERS)
    assert ended.returncode == 0, ended.stderr
