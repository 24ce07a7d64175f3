"""A loop of your own with the `anthropic` SDK, on tokens.

    pip install anthropic; export ANTHROPIC_API_KEY=…; python examples/loops/anthropic_loop.py
"""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic

from linear_agentics import AuditTrail, Budget, CapabilitySet, LinearAgenticsError
from linear_agentics.tokens import ShellToken


async def main() -> AuditTrail | None:
    capabilities = CapabilitySet(
        [ShellToken("uptime", allowed=["uptime"]), ShellToken("disk", allowed=["df -h"])],
        budget=Budget(max_steps=10, timeout_minutes=5),
    )
    client = anthropic.AsyncAnthropic()
    messages: list[Any] = [{"role": "user", "content": "Is this machine well?"}]
    async with capabilities:
        while True:
            tools: Any = capabilities.to_tool_definitions()
            answer = await client.messages.create(
                model="claude-sonnet-5-5", max_tokens=1024, tools=tools, messages=messages
            )
            messages.append({"role": "assistant", "content": answer.content})
            results = []
            for block in answer.content:
                if block.type == "text":
                    print(block.text)
                if block.type == "tool_use":
                    try:
                        proof = await capabilities.dispatch(block.name, block.input)
                        told, failed = proof.text, proof.outcome != "succeeded"
                    except LinearAgenticsError as refusal:
                        told, failed = str(refusal), True
                    results.append({"type": "tool_result", "tool_use_id": block.id, "content": told,
                                    "is_error": failed})
            if not results:
                break
            messages.append({"role": "user", "content": results})
    return await capabilities.audit_trail()


if __name__ == "__main__":
    if trail := asyncio.run(main()):
        print(trail.to_table())
