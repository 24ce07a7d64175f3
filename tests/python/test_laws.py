"""Laws that hold for every input: scope and linearity."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linear_agentics import (
    CapabilitySet,
    CommandNotAllowedError,
    FileAccessError,
    InvalidInputError,
    TokenClosedError,
    TokenError,
    TokenReusedError,
)
from linear_agentics.tokens import FileToken, ShellToken, WaitToken

WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@given(st.lists(WORD, max_size=4))
def test_quoted_words_arrive_as_they_are(words: list[str]) -> None:
    """What `shlex.quote` makes of words is split into exactly those words."""
    action = ShellToken("t", allowed=["echo"]).check(shlex.join(["echo", *words]))
    assert action.argv == ["echo", *words]


@given(st.text(max_size=40))
def test_what_is_allowed_begins_with_the_prefix(command: str) -> None:
    """A dry run has two ends: an action that begins with the allowed words, or a refusal."""
    token = ShellToken("t", allowed=["kubectl get pods"])
    for text in (command, f"kubectl get pods {command}", f"kubectl get pods{command}"):
        try:
            argv = token.check(text).argv
        except (CommandNotAllowedError, InvalidInputError):
            continue
        assert argv is not None and argv[:3] == ["kubectl", "get", "pods"]
    assert token.uses_remaining == 1


@given(st.lists(st.sampled_from(["..", ".", "a", "b/c", "", "/etc", "~", "%2e%2e"]), max_size=6))
def test_no_path_leads_outside(parts: list[str]) -> None:
    token = FileToken("t", allowed_paths=["/srv/app"])
    path = "/".join(["/srv/app", *parts])
    try:
        found = token.check("read", path).path
    except (FileAccessError, InvalidInputError):
        return
    assert found is not None
    assert Path(os.path.normpath(found)).is_relative_to("/srv/app")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(uses=st.integers(1, 6), calls=st.integers(0, 12), split=st.booleans())
def test_uses_are_conserved(uses: int, calls: int, split: bool, tmp_path: Path) -> None:
    """However a set is split, closed and called at once: never more proofs than uses."""

    async def story() -> None:
        token = WaitToken("w", 1, max_uses=uses)
        held = CapabilitySet([token], ledger=tmp_path / "ledger.db")
        proofs = 0
        for _ in range(3):
            if split:
                await held.close()
                held = held.split("w")
            results = await asyncio.gather(
                *(held.dispatch("wait_w", {"seconds": 0}) for _ in range(calls)),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, Exception):
                    assert isinstance(result, TokenReusedError), result
                else:
                    proofs += 1
            assert token.uses_remaining == uses - proofs
        assert proofs == min(uses, calls * 3)
        await held.close()
        with pytest.raises(TokenClosedError if proofs or split else TokenError):
            CapabilitySet([token])

    asyncio.run(story())
