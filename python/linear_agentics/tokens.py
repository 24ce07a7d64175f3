"""The tokens: what a person declares that an agent may do, and how often."""

from __future__ import annotations

from ._native import (
    DeployToken,
    FileToken,
    HttpToken,
    LinearToken,
    MultiUseFileToken,
    MultiUseShellToken,
    MultiUseToken,
    SecretInjection,
    SecretToken,
    ShellToken,
    WaitToken,
)

__all__ = [
    "DeployToken",
    "FileToken",
    "HttpToken",
    "LinearToken",
    "MultiUseFileToken",
    "MultiUseShellToken",
    "MultiUseToken",
    "SecretInjection",
    "SecretToken",
    "ShellToken",
    "WaitToken",
]
