"""Verifiers that aren't ours: a DSSE library's, and one that docs/audit.md alone was enough to write."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import call, lar, turn

from linear_agentics import Agent, Budget, CapabilitySet
from linear_agentics.tokens import MultiUseShellToken

rfc8785 = pytest.importorskip("rfc8785", reason="RFC 8785 by others is not installed")
pytest.importorskip("securesystemslib", reason="DSSE by others is not installed")

from cryptography.exceptions import InvalidSignature  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: E402
from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: E402
from securesystemslib.dsse import Envelope  # noqa: E402
from securesystemslib.exceptions import VerificationError  # noqa: E402
from securesystemslib.signer import SSlibKey  # noqa: E402

Replay = Callable[..., str]


class Refused(Exception):
    """What the verifier of this file says of a bundle that doesn't hold."""


@pytest.fixture
async def key(replay: Replay) -> Ed25519PublicKey:
    """Two runs in one log, so that a bundle of one has gaps of the other; then the log's key."""
    for _ in range(2):
        token = MultiUseShellToken("say", allowed=["echo"], max_uses=3)
        model = replay(
            turn(call("shell_say", {"command": "echo one"}), call("shell_say", {"command": "ls /"})),
            turn("done"),
        )
        budget = Budget(max_steps=5, timeout_minutes=1)
        agent = Agent(capabilities=CapabilitySet([token]), budget=budget, llm_model=model, min_tier="C")
        assert (await agent.run()).stop_reason == "complete"
    policy = lar("keys", "show", "--policy").stdout
    (line,) = (line for line in policy.splitlines() if line.startswith('    "lar-ledger/'))
    return log_key(line.strip(' ",'))


def log_key(text: str) -> Ed25519PublicKey:
    """The key in a verifier's line: `NAME+ID+BASE64`, where the bytes are a one and the key."""
    raw = base64.b64decode(text.split("+", 2)[2])
    assert raw[0] == 1 and len(raw) == 33
    return Ed25519PublicKey.from_public_bytes(raw[1:])


def merkle(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Height and hash of each complete subtree that a bundle's lines stand for, from left to right."""
    for line in text.splitlines()[1:]:
        if line.startswith(b"["):
            count, *roots = json.loads(line)
            heights = [bit for bit in reversed(range(count.bit_length())) if count >> bit & 1]
            if len(heights) != len(roots):
                raise Refused("a gap without its roots")
            yield from ((h, binascii.unhexlify(root)) for h, root in zip(heights, roots, strict=True))
        else:
            yield 0, hashlib.sha256(b"\0" + line).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def verify(text: bytes, key: Ed25519PublicKey) -> int:
    """How many records a bundle proves, by docs/audit.md: canonical bytes, chain, tree, signature."""
    header = json.loads(text.splitlines()[0])
    previous, number = hashlib.sha256(b"").hexdigest(), 0
    for line in text.splitlines()[1:]:
        if line.startswith(b"["):
            continue
        record = json.loads(line)
        number += 1
        if rfc8785.dumps(record) != line:
            raise Refused(f"record {number} is not canonical")
        if (record["seq"], record["prev"], record["run"]) != (number, previous, header["run"]):
            raise Refused(f"record {number} doesn't follow")
        previous = hashlib.sha256(b"\0" + line).hexdigest()
    if (number, previous) != (header["records"], header["head"]):
        raise Refused("the last record isn't the head")

    stack: list[tuple[int, bytes]] = []
    size = 0
    for height, leaf in merkle(text):
        size += 1 << height
        while stack and stack[-1][0] == height:
            leaf, height = node(stack.pop()[1], leaf), height + 1
        stack.append((height, leaf))
    root = stack.pop()[1]
    while stack:
        root = node(stack.pop()[1], root)
    signed, signatures = header["checkpoint"].split("\n\n")
    origin, said, hashed = signed.split("\n")
    if (int(said), base64.b64decode(hashed)) != (size, root):
        raise Refused("the root is another")
    (signature,) = (s for s in signatures.splitlines() if s.startswith(f"\N{EM DASH} {origin} "))
    try:
        key.verify(base64.b64decode(signature.split(" ")[2])[4:], f"{signed}\n".encode())
    except InvalidSignature:
        raise Refused("the signature is another's") from None
    return number


async def test_what_the_documents_say_is_enough_to_write_a_verifier(
    key: Ed25519PublicKey, tmp_path: Path
) -> None:
    path = tmp_path / "run.bundle"
    lar("audit", "export", "latest", "--out", path)
    text = path.read_bytes()
    assert any(line.startswith(b"[") for line in text.splitlines()), "a gap of the other run"
    assert verify(text, key) == len(text.splitlines()) - 2

    lines = text.splitlines(keepends=True)
    records = [n for n, line in enumerate(lines) if n and not line.startswith(b"[")]
    for n in records:
        for changed in (
            lines[:n] + lines[n + 1 :],
            [*lines[:n], lines[n].replace(b'"seq":', b'"seq": '), *lines[n + 1 :]],
            [*lines[:n], lines[n].replace(b"T", b"U", 1), *lines[n + 1 :]],
        ):
            assert changed != lines
            with pytest.raises(Refused):
                verify(b"".join(changed), key)


async def test_an_envelope_is_accepted_by_a_library_of_others(key: Ed25519PublicKey) -> None:
    pem = lar("keys", "p256").stdout
    second = load_pem_public_key(pem.encode())
    envelope = json.loads(lar("audit", "export", "latest", "--format", "dsse").stdout)
    names = [signature["keyid"] for signature in envelope["signatures"]]
    keys = [SSlibKey.from_crypto(k, n) for k, n in zip([key, second], names, strict=True)]

    def accepted(envelope: dict[str, object], keys: list[SSlibKey]) -> list[str]:
        # The library takes what it reads apart, so it gets a copy.
        read = json.loads(json.dumps(envelope))
        return sorted(Envelope.from_dict(read).verify(keys, len(keys)))

    assert accepted(envelope, keys) == sorted(names)
    for one in keys:
        assert accepted(envelope, [one]) == [one.keyid]
    statement = base64.b64decode(envelope["payload"])
    other = statement.replace(b'"records":', b'"record":', 1)
    assert other != statement
    with pytest.raises(VerificationError):
        accepted({**envelope, "payload": base64.b64encode(other).decode()}, keys)
    with pytest.raises(VerificationError):
        accepted({**envelope, "payloadType": "application/json"}, keys)
    with pytest.raises(VerificationError):
        crossed = [SSlibKey.from_crypto(second, names[0]), SSlibKey.from_crypto(key, names[1])]
        accepted(envelope, crossed)
