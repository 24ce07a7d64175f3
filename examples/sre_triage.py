"""Looks into an alert and reports. No token here changes anything.

    python examples/sre_triage.py "Alert: checkout is slow"   # your cluster, and ANTHROPIC_API_KEY
    python examples/sre_triage.py --replay                    # a recorded session; needs kubectl
"""

from __future__ import annotations

import argparse
import asyncio

from stage import ROOT, stage

from linear_agentics import Agent, AgentResult, Budget, CapabilitySet
from linear_agentics.tokens import HttpToken, MultiUseShellToken


async def triage(alert: str, health: str, llm_model: str | None) -> AgentResult:
    capabilities = CapabilitySet([
        MultiUseShellToken("pods", max_uses=5, env=["KUBECONFIG"], required=True,
                           allowed=["kubectl get pods -n shop", "kubectl describe pod -n shop"]),
        MultiUseShellToken("logs", allowed=["kubectl logs -n shop"], max_uses=5, env=["KUBECONFIG"]),
        MultiUseShellToken("events", allowed=["kubectl get events -n shop"], max_uses=3,
                           env=["KUBECONFIG"]),
        HttpToken("health", url=health, methods=["GET"], max_uses=2),
    ])
    agent = Agent(
        capabilities=capabilities,
        budget=Budget(max_steps=16, timeout_minutes=10),
        llm_model=llm_model,
        system_prompt="You triage an alert. Gather evidence, then report: severity, what is broken, since "
        "when, the evidence, and what a human should do next. You can't change anything.",
        task=alert,
    )
    return await agent.run()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("alert", nargs="?", default="Alert: error rate of `checkout` is above 5 %.")
    arguments.add_argument("--replay", action="store_true", help="a recorded session; needs no key")
    arguments.add_argument("--health", default="https://api.internal/health")
    chosen = arguments.parse_args()
    if chosen.replay:
        with stage("sre-triage") as health:
            session = ROOT / "examples" / "sre-triage" / "session.jsonl"
            result = asyncio.run(triage(chosen.alert, health, f"replay:{session}"))
    else:
        result = asyncio.run(triage(chosen.alert, chosen.health, None))
    print(result.audit_trail.to_table())
    print(result.final_message or result.error)
    print(f"the record: lar audit show {result.run_id}")


if __name__ == "__main__":
    main()
