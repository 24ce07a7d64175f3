"""The tokens: what a person declares that an agent may do, and how often."""

from __future__ import annotations

from ._native import (
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

__all__ = [
    "DatabaseToken",
    "DeployToken",
    "FileToken",
    "HttpToken",
    "LinearToken",
    "MultiUseDatabaseToken",
    "MultiUseFileToken",
    "MultiUseShellToken",
    "MultiUseToken",
    "SecretInjection",
    "SecretToken",
    "ShellToken",
    "WaitToken",
]
