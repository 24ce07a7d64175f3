"""Those who decide: approvers, and providers of further capabilities. Subclass them to bring your own.

What they raise denies. What they answer is recorded with their name.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._native import ApprovalRequest, CapabilityRequest, LinearToken


class ApprovalGate:
    """Asks a person before a token that requires approval is used.

    As it is, it asks at the program's own terminal, shows exactly what will run, and takes only `yes`.
    A subclass asks elsewhere: it overrides `request_approval`, and its answer is recorded under
    `approver` with the identity `program`.

    Args:
        timeout_seconds: how long an answer may take; silence denies.
        approver: the name in the record; the class's name without it.

    Example:
        >>> class ChatGate(ApprovalGate):
        ...     async def request_approval(self, request: ApprovalRequest) -> bool:
        ...         return await ask_in_chat(request.message, request.lines, request.action_digest)
        >>> agent = Agent(capabilities, budget, approval_gate=ChatGate(approver="alice"))
    """

    def __init__(self, timeout_seconds: float = 300, *, approver: str | None = None) -> None:
        self.timeout_seconds = timeout_seconds
        self.approver = approver or type(self).__name__

    async def request_approval(self, request: ApprovalRequest) -> bool | int:
        """Answers `True` to approve exactly this, `False` to deny it; an index where there are choices."""
        raise NotImplementedError("this gate asks at the terminal; subclass it to ask elsewhere")

    def _asks_at_the_terminal(self) -> bool:
        return type(self).request_approval is ApprovalGate.request_approval


class CapabilityProvider:
    """Decides which candidate is granted when a model asks for a further capability, if any.

    Example:
        >>> class Policy(CapabilityProvider):
        ...     async def choose(self, request, candidates):
        ...         return "restart" if "restart" in request.scope else None
    """

    provider_type = "program"

    async def choose(
        self, request: CapabilityRequest, candidates: Sequence[LinearToken]
    ) -> LinearToken | str | None:
        """Returns the candidate that is granted, or its name; `None` for none."""
        raise NotImplementedError("a provider chooses; override `choose`")


class HumanCapabilityProvider(CapabilityProvider):
    """A person chooses, wherever approvals are asked. Agents do this when nothing else is said.

    Example:
        >>> agent = Agent(capabilities, budget, candidate_tokens=[restart],
        ...               capability_provider=HumanCapabilityProvider())
    """

    provider_type = "human"
    _asks_a_person = True
