"""A Pydantic AI agent whose tools are tokens.

    pip install 'pydantic-ai-slim[anthropic]'; export ANTHROPIC_API_KEY=…
    python examples/loops/pydantic_ai_loop.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent, Tool

from linear_agentics import AuditTrail, Budget, CapabilitySet, LinearAgenticsError
from linear_agentics.tokens import ShellToken


def tools(capabilities: CapabilitySet) -> list[Tool[object]]:
    """One tool a token. A token that is used up refuses, and says so."""

    def tool(definition: dict[str, Any]) -> Tool[object]:
        async def act(**arguments: Any) -> str:
            try:
                return (await capabilities.dispatch(definition["name"], arguments)).text
            except LinearAgenticsError as refusal:
                return f"refused: {refusal}"

        return Tool.from_schema(
            act, definition["name"], definition["description"], definition["input_schema"]
        )

    return [tool(definition) for definition in capabilities.to_tool_definitions()]


async def main() -> AuditTrail | None:
    capabilities = CapabilitySet(
        [ShellToken("uptime", allowed=["uptime"]), ShellToken("disk", allowed=["df -h"])],
        budget=Budget(max_steps=10, timeout_minutes=5),
    )
    async with capabilities:
        agent = Agent("anthropic:claude-sonnet-5-5", tools=tools(capabilities))
        result = await agent.run("Is this machine well?")
        print(result.output)
    return await capabilities.audit_trail()


if __name__ == "__main__":
    if trail := asyncio.run(main()):
        print(trail.to_table())
