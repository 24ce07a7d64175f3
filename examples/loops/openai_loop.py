"""A loop of your own with the `openai` SDK, on tokens.

    pip install openai; export OPENAI_API_KEY=…; python examples/loops/openai_loop.py
"""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from linear_agentics import AuditTrail, Budget, CapabilitySet, LinearAgenticsError
from linear_agentics.tokens import ShellToken


async def main() -> AuditTrail | None:
    capabilities = CapabilitySet(
        [ShellToken("uptime", allowed=["uptime"]), ShellToken("disk", allowed=["df -h"])],
        budget=Budget(max_steps=10, timeout_minutes=5),
    )
    client = openai.AsyncOpenAI()
    messages: list[Any] = [{"role": "user", "content": "Is this machine well?"}]
    async with capabilities:
        while True:
            tools: Any = [
                {"type": "function", "function": {
                    "name": tool["name"], "description": tool["description"],
                    "parameters": tool["input_schema"]}}
                for tool in capabilities.to_tool_definitions()
            ]
            answer = await client.chat.completions.create(
                model="gpt-5", messages=messages, **({"tools": tools} if tools else {})
            )
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if message.content:
                print(message.content)
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                if call.type != "function":
                    continue
                try:
                    # The model's own text: the runtime reads it strictly.
                    proof = await capabilities.dispatch(call.function.name, call.function.arguments)
                    told = proof.text
                except LinearAgenticsError as refusal:
                    told = f"refused: {refusal}"
                messages.append({"role": "tool", "tool_call_id": call.id, "content": told})
    return await capabilities.audit_trail()


if __name__ == "__main__":
    if trail := asyncio.run(main()):
        print(trail.to_table())
