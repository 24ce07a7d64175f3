"""People and servers elsewhere: approvers with SSH keys, and witnesses of the log."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LAR, call, lar, turn

from linear_agentics import (
    Agent,
    ApprovalDeniedError,
    Budget,
    CapabilitySet,
    NeverBeganError,
    SetupError,
    TokenDefinitionError,
)
from linear_agentics.tokens import MultiUseShellToken, ShellToken, WaitToken


class Person:
    """A person with an SSH key of their own."""

    def __init__(self, name: str, directory: Path) -> None:
        if shutil.which("ssh-keygen") is None:
            pytest.skip("keys need `ssh-keygen`, which is not installed")
        self.name, self.key = name, directory / f"key-{name}"
        line = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.key]
        subprocess.run(line, check=True)

    @property
    def line(self) -> str:
        return f"{self.name} {Path(f'{self.key}.pub').read_text().strip()}"

    async def decide(self, word: str) -> dict[str, Any]:
        """Approves or denies what waits, as soon as something does, from another process."""
        for _ in range(200):
            waiting = json.loads((await asyncio.to_thread(lar, "approvals", "list", "--json")).stdout)
            if waiting:
                break
            await asyncio.sleep(0.05)
        [what] = waiting
        line = ("approvals", word, what["id"], "--json", "--digest", what["action_digest"], "--key", self.key)
        told: dict[str, Any] = json.loads((await asyncio.to_thread(lar, *line)).stdout)
        return told


async def test_listed_people_approve_by_their_signatures(tmp_path: Path) -> None:
    alice, bob = Person("alice@example.com", tmp_path), Person("bob@example.com", tmp_path)
    token = MultiUseShellToken("gated", allowed=["echo"], max_uses=2, requires_approval=True)
    # The token was declared before the set, and one that is added later needs the same people.
    async with CapabilitySet(approvers=[alice.line, bob.line], required_approvals=2) as capabilities:
        capabilities.add_token(token)
        going = asyncio.create_task(token.consume("echo hi"))
        await alice.decide("approve")
        assert not going.done()
        await bob.decide("approve")
        proof = await going
        assert (proof.outcome, proof.output) == ("succeeded", "hi\n")
        going = asyncio.create_task(capabilities.dispatch("shell_gated", {"command": "echo again"}))
        await bob.decide("deny")
        with pytest.raises(ApprovalDeniedError) as caught:
            await going
        assert caught.value.token_name == "gated"
        trail = await capabilities.audit_trail()
    assert trail is not None and token.uses_remaining == 1
    yes, no = trail.approvals
    assert (yes.approved, no.approved, yes.approver_identity) == (True, False, "ssh-key")
    assert proof.approval_seq == yes.seq and yes.attempt == proof.attempt
    said = [json.loads(signed["statement"]) for signed in yes.statements]
    assert {(s["approver"], s["action_digest"]) for s in said} == {
        ("alice@example.com", proof.action_digest), ("bob@example.com", proof.action_digest)}
    assert all(signed["signature"].startswith("-----BEGIN SSH SIGNATURE") for signed in yes.statements)


async def test_an_agents_tokens_and_a_part_of_them_need_the_same_people(tmp_path: Path, replay: Any) -> None:
    alice = Person("alice@example.com", tmp_path)
    tokens = [MultiUseShellToken("gated", allowed=["echo"], max_uses=3, requires_approval=True)]
    mine = CapabilitySet(tokens, approvers=[alice.line])
    half = mine.split({"gated": 1})
    narrow = CapabilitySet([mine.get_token("gated").attenuate(max_uses=1, allowed=["echo hi"])])
    model = replay(turn(call("shell_gated", {"command": "echo hi"})), turn("Done."))
    for part in (half, narrow, mine):
        running = asyncio.create_task(Agent(part, Budget(3, 1), model).run())
        assert (await alice.decide("approve"))["approver"] == "alice@example.com"
        [approval] = (await running).audit_trail.approvals
        assert (approval.approver, approval.approver_identity) == ("alice@example.com", "ssh-key")


def test_approvers_that_are_none_are_named(tmp_path: Path) -> None:
    alice = Person("alice@example.com", tmp_path)
    for approvers, required, says in ((["nobody"], 1, "approvers"), ([alice.line], 2, "2"),
                                      ([alice.line, alice.line], 1, "approvers")):
        with pytest.raises(SetupError, match=says):
            CapabilitySet([], approvers=approvers, required_approvals=required)


class Witness:
    """`lar witness serve`, as long as the test runs."""

    def __init__(self, directory: Path, log: str) -> None:
        name = f"witness.example/{directory.name}"
        self.key = lar("witness", "init", directory, "--name", name).stdout.strip()
        line = [*LAR, "witness", "serve", str(directory), "--log", log, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().rpartition(" ")[2]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def log(state: Path) -> str:
    """The key of the log of the ledger in the state directory."""
    lar("keys", "init")
    key: str = json.loads(lar("keys", "show", "--json").stdout)["keys"][0]["key"]
    return key


@pytest.fixture
def witness(tmp_path: Path, log: str) -> Iterator[Witness]:
    running = Witness(tmp_path / "w1", log)
    yield running
    running.end()


async def test_nothing_begins_before_a_witness_has_cosigned_it(witness: Witness, tmp_path: Path) -> None:
    token = MultiUseShellToken("seen", allowed=["echo"], max_uses=3, witness="before-effect")
    named = {witness.url: witness.key}
    async with CapabilitySet([token], witnesses=named, witness_timeout=3) as capabilities:
        assert (await token.consume("echo hi")).outcome == "succeeded"
        witness.end()
        with pytest.raises(NeverBeganError, match="given back"):
            await token.consume("echo again")
        assert token.uses_remaining == 2
        trail = await capabilities.audit_trail()
    assert trail is not None
    policy = tmp_path / "policy.toml"
    policy.write_text(lar("keys", "show", "--policy").stdout + f"\nwitnesses = [\"{witness.key}\"]\n")
    assert [proof.outcome for proof in trail.proofs][:1] == ["succeeded"]
    shown = lar("audit", "show", trail.run_id, "--records").stdout
    assert '"type":"anchor"' in shown


async def test_a_token_that_demands_witnesses_needs_some(replay: Any) -> None:
    capabilities = CapabilitySet([WaitToken("w", 1, witness="before-effect")])
    model = replay(turn(call("wait_w", {"seconds": 0})))
    calls = capabilities.dispatch("wait_w", {"seconds": 0}), Agent(capabilities, Budget(3, 1), model).run()
    for start in calls:
        with pytest.raises(SetupError, match="witness"):
            await start
    assert capabilities.get_token("w").uses_remaining == 1


def test_witnesses_that_are_none_are_named(log: str, tmp_path: Path) -> None:
    key = lar("witness", "init", tmp_path / "w", "--name", "witness.example/w").stdout.strip()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        for witnesses, required, says in (
            ({}, None, "none is named"), ({url: log}, None, "log's key"), ({url: "x"}, None, "`witnesses`"),
            ({"ftp://a/": key}, None, "http or https"), ({url: key}, 2, "required_witnesses"),
            ({url: key}, 0, "required_witnesses"), ({url: key, f"{url}b/": key}, 1, "twice"),
        ):
            with pytest.raises(SetupError, match=says):
                CapabilitySet([], witnesses=witnesses, required_witnesses=required)
    with pytest.raises(TokenDefinitionError, match="before-effect"):
        ShellToken("s", ["true"], witness="always")  # type: ignore[arg-type]


async def test_an_outage_of_witnesses_stops_an_agents_token(log: str, tmp_path: Path, replay: Any) -> None:
    witness = Witness(tmp_path / "w1", log)
    witness.end()
    token = ShellToken("seen", allowed=["touch"], witness="before-effect")
    capabilities = CapabilitySet([token], witnesses={witness.url: witness.key}, witness_timeout=1)
    model = replay(turn(call("shell_seen", {"command": "touch made"})), turn("Done."))
    result = await Agent(capabilities, Budget(3, 1), model).run()
    assert "succeeded" not in [proof.outcome for proof in result.audit_trail.proofs]
    assert "unwitnessed" in result.audit_trail.to_json() and not token.consumed
