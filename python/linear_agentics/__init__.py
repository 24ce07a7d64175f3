"""Give an AI agent exactly the capabilities it needs, nothing more, and prove what it did.

Every action that an agent may take is a token with a scope and a number of uses. A use is spent at most
once, durably and before the action begins; the record says what was done, what was refused, and what
was never used.

    >>> from linear_agentics import Agent, Budget, CapabilitySet
    >>> from linear_agentics.tokens import ShellToken
    >>> capabilities = CapabilitySet([ShellToken("read-pods", allowed=["kubectl get pods"])])
    >>> agent = Agent(capabilities, Budget(max_steps=20, timeout_minutes=15), task="Is all well?")
    >>> result = await agent.run()
    >>> print(result.audit_trail.to_table())
"""

from __future__ import annotations

import atexit as _atexit

from . import _command, _native
from ._native import (
    DEFAULT_MODEL,
    Action,
    Agent,
    AgentResult,
    ApprovalDeniedError,
    ApprovalRecord,
    ApprovalRequest,
    ApprovalTimeoutError,
    AuditTrail,
    Budget,
    BudgetExhaustedError,
    BudgetTimeoutError,
    CapabilityRequest,
    CapabilitySet,
    CommandNotAllowedError,
    ErrorRecord,
    FileAccessError,
    ForkedError,
    InvalidInputError,
    LedgerError,
    LinearAgenticsError,
    ModelError,
    NegotiationRecord,
    NeverBeganError,
    Proof,
    QueryNotAllowedError,
    RunStoppedError,
    SandboxError,
    SecretExposedError,
    SetupError,
    TokenClosedError,
    TokenDefinitionError,
    TokenError,
    TokenReusedError,
    TokenScopeError,
    UnknownToolError,
    UnusedTokenWarning,
    Verification,
    VerificationError,
    __version__,
)
from .people import (
    ApprovalGate,
    CapabilityProvider,
    HumanCapabilityProvider,
    SupervisorAgentProvider,
)
from .tokens import (
    DatabaseToken,
    DeployToken,
    FileToken,
    HttpToken,
    LinearToken,
    MultiUseDatabaseToken,
    MultiUseFileToken,
    MultiUseShellToken,
    MultiUseToken,
    SecretInjection,
    SecretToken,
    ShellToken,
    WaitToken,
)

# The program that starts commands is the one that was installed with this module, and no other.
if _command.LAUNCHER.is_file():
    _native.use_helper(_command.LAUNCHER)
_atexit.register(_native.end_all)

__all__ = [
    "DEFAULT_MODEL",
    "Action",
    "Agent",
    "AgentResult",
    "ApprovalDeniedError",
    "ApprovalGate",
    "ApprovalRecord",
    "ApprovalRequest",
    "ApprovalTimeoutError",
    "AuditTrail",
    "Budget",
    "BudgetExhaustedError",
    "BudgetTimeoutError",
    "CapabilityProvider",
    "CapabilityRequest",
    "CapabilitySet",
    "CommandNotAllowedError",
    "DatabaseToken",
    "DeployToken",
    "ErrorRecord",
    "FileAccessError",
    "FileToken",
    "ForkedError",
    "HttpToken",
    "HumanCapabilityProvider",
    "InvalidInputError",
    "LedgerError",
    "LinearAgenticsError",
    "LinearToken",
    "ModelError",
    "MultiUseDatabaseToken",
    "MultiUseFileToken",
    "MultiUseShellToken",
    "MultiUseToken",
    "NegotiationRecord",
    "NeverBeganError",
    "Proof",
    "QueryNotAllowedError",
    "RunStoppedError",
    "SandboxError",
    "SecretExposedError",
    "SecretInjection",
    "SecretToken",
    "SetupError",
    "ShellToken",
    "SupervisorAgentProvider",
    "TokenClosedError",
    "TokenDefinitionError",
    "TokenError",
    "TokenReusedError",
    "TokenScopeError",
    "UnknownToolError",
    "UnusedTokenWarning",
    "Verification",
    "VerificationError",
    "WaitToken",
    "__version__",
]
