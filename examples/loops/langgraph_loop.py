"""A LangGraph graph whose tools are tokens.

    pip install langgraph langchain-anthropic; export ANTHROPIC_API_KEY=…
    python examples/loops/langgraph_loop.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from linear_agentics import AuditTrail, Budget, CapabilitySet, LinearAgenticsError
from linear_agentics.tokens import ShellToken


def graph(capabilities: CapabilitySet) -> Any:
    """Model, tools, model, … until the model calls none."""
    model = ChatAnthropic(model_name="claude-sonnet-5-5", timeout=60, stop=None, max_retries=2)

    async def think(state: MessagesState) -> dict[str, Any]:
        # Bound anew each time: a token that is used up is offered no longer.
        tools: Any = capabilities.to_tool_definitions()
        return {"messages": [await model.bind_tools(tools).ainvoke(state["messages"])]}

    async def act(state: MessagesState) -> dict[str, Any]:
        last = state["messages"][-1]
        assert isinstance(last, AIMessage)
        results = []
        for call in last.tool_calls:
            try:
                told = (await capabilities.dispatch(call["name"], call["args"])).text
                status: Any = "success"
            except LinearAgenticsError as refusal:
                told, status = str(refusal), "error"
            results.append(ToolMessage(told, tool_call_id=call["id"], status=status))
        return {"messages": results}

    def go_on(state: MessagesState) -> str:
        last = state["messages"][-1]
        return "act" if isinstance(last, AIMessage) and last.tool_calls else END

    built: Any = StateGraph(MessagesState)
    built.add_node("think", think)
    built.add_node("act", act)
    built.add_edge(START, "think")
    built.add_conditional_edges("think", go_on)
    built.add_edge("act", "think")
    return built.compile()


async def main() -> AuditTrail | None:
    capabilities = CapabilitySet(
        [ShellToken("uptime", allowed=["uptime"]), ShellToken("disk", allowed=["df -h"])],
        budget=Budget(max_steps=10, timeout_minutes=5),
    )
    async with capabilities:
        end = await graph(capabilities).ainvoke({"messages": [("user", "Is this machine well?")]})
        print(end["messages"][-1].text)
    return await capabilities.audit_trail()


if __name__ == "__main__":
    if trail := asyncio.run(main()):
        print(trail.to_table())
