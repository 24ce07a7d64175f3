"""Deploys a service: staging first, production behind a person's yes.

    python examples/deploy_service.py            # your cluster, and ANTHROPIC_API_KEY
    python examples/deploy_service.py --replay   # a recorded session on a stand-in cluster; needs kubectl

The model decides when and whether. What is deployed and where stands here.
"""

from __future__ import annotations

import argparse
import asyncio

from stage import ROOT, stage

from linear_agentics import Agent, AgentResult, Budget, CapabilitySet
from linear_agentics.tokens import DeployToken, HttpToken, MultiUseShellToken, WaitToken

IMAGE = "registry.internal/team/myservice"


async def deploy(health: str, llm_model: str | None) -> AgentResult:
    capabilities = CapabilitySet([
        MultiUseShellToken(
            "diagnostics",
            allowed=["kubectl get pods -n staging", "kubectl get pods -n production",
                     "kubectl logs -n staging", "kubectl logs -n production"],
            max_uses=6, env=["KUBECONFIG"],
        ),
        HttpToken("health-check", url=health, methods=["GET"], max_uses=3),
        WaitToken("rollout", max_seconds=60, max_uses=3),
        DeployToken("staging", method="kubectl", target="staging", image=f"{IMAGE}:v2.3.1",
                    rollback_to=f"{IMAGE}:v2.3.0", required=True),
        DeployToken("production", method="kubectl", target="production", image=f"{IMAGE}:v2.3.1",
                    rollback_to=f"{IMAGE}:v2.3.0", requires_approval=True),
    ])
    agent = Agent(
        capabilities=capabilities,
        budget=Budget(max_steps=20, timeout_minutes=15),
        llm_model=llm_model,
        system_prompt="Deploy to staging. Go on to production only when staging's pods are ready and its "
        "health check answers 200. If anything looks wrong, stop and say what you saw.",
        task="Deploy myservice v2.3.1 to staging, check it, and then to production.",
        on_event=lambda event: print(event["type"], event.get("tool", "")),
    )
    return await agent.run()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--replay", action="store_true", help="a recorded session; needs no key")
    arguments.add_argument("--health", default="https://staging.internal/health")
    chosen = arguments.parse_args()
    if chosen.replay:
        with stage("staged-deploy") as health:
            session = ROOT / "examples" / "staged-deploy" / "session.jsonl"
            result = asyncio.run(deploy(health, f"replay:{session}"))
    else:
        result = asyncio.run(deploy(chosen.health, None))
    print(result.audit_trail.to_table())
    print(f"{result.stop_reason}: {result.final_message or result.error}")
    print(f"the record: lar audit show {result.run_id}")


if __name__ == "__main__":
    main()
