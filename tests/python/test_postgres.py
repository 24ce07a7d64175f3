"""A ledger and a database on a real PostgreSQL, from Python."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pgserver
import pytest
from conftest import call, lar, turn

import linear_agentics
from linear_agentics import (
    Agent,
    Budget,
    CapabilitySet,
    LedgerError,
    Proof,
    QueryNotAllowedError,
    TokenReusedError,
)
from linear_agentics.tokens import MultiUseDatabaseToken, MultiUseShellToken, ShellToken, WaitToken


@pytest.fixture(scope="module")
def postgres() -> Iterator[pgserver.Postgres]:
    with pgserver.server() as running:
        running.sql("create role lar_owner login; create role app login")
        yield running


@pytest.fixture
def ledger(postgres: pgserver.Postgres, request: pytest.FixtureRequest) -> str:
    """A ledger of this test's own."""
    name = f"ledger_{request.node.name.split('[')[0].removeprefix('test_')[:40]}"
    postgres.sql(f"create database {name} owner lar_owner encoding 'UTF8' template template0")
    return postgres.url("lar_owner", name)


async def test_a_run_is_recorded_and_verified(ledger: str, replay: Callable[..., str]) -> None:
    capabilities = CapabilitySet([ShellToken("say", allowed=["echo"]), WaitToken("w", 1)])
    model = replay(turn(call("shell_say", {"command": "echo hi"}), call("shell_say", {"command": "rm"})),
                   turn("Done."))
    result = await Agent(capabilities, Budget(5, 1), model, ledger=ledger).run()
    assert (result.stop_reason, result.error) == ("complete", None)
    trail = result.audit_trail
    assert [proof.outcome for proof in trail.proofs] == ["succeeded"]
    found = trail.verify()
    assert (found.integrity, found.completeness) == ("ok", "ok")
    assert json.loads(lar("audit", "show", result.run_id, "--json", "--ledger", ledger).stdout) == trail.to_dict()
    # A lone token's session is recorded in the same place.
    async with CapabilitySet([WaitToken("v", 1)], ledger=ledger) as alone:
        await alone.dispatch("wait_v", {"seconds": 0})
    assert len(json.loads(lar("audit", "list", "--json", "--ledger", ledger).stdout)) == 2


DRAW = """
import asyncio, sys
from linear_agentics import CapabilitySet, TokenReusedError
from linear_agentics.tokens import MultiUseShellToken

async def main():
    token = MultiUseShellToken("s", allowed=["true"], max_uses=3)
    async with CapabilitySet([token], ledger=sys.argv[1], grant="release-1") as capabilities:
        results = await asyncio.gather(*(token.consume("true") for _ in range(6)), return_exceptions=True)
    assert all(not isinstance(r, Exception) or isinstance(r, TokenReusedError) for r in results), results
    print(sum(not isinstance(r, Exception) for r in results))

asyncio.run(main())
"""


def test_processes_share_a_grant_and_never_spend_more(ledger: str, tmp_path: Path) -> None:
    manifest, program = tmp_path / "grant.toml", tmp_path / "draw.py"
    manifest.write_text(
        '[budget]\nmax_steps = 9\ntimeout = "1m"\n[grant]\nid = "release-1"\n'
        '[[token]]\nkind = "shell"\nname = "s"\nallowed = ["true"]\nmax_uses = 3\n'
    )
    lar("grants", "issue", manifest, "--ledger", ledger)
    program.write_text(DRAW)
    env = {**os.environ, "PYTHONPATH": str(Path(linear_agentics.__file__).parents[1])}
    running = [
        subprocess.Popen([sys.executable, program, ledger], stdout=subprocess.PIPE, text=True, env=env)
        for _ in range(3)
    ]
    spent = [one.communicate(timeout=120)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0, 0]
    assert sum(map(int, spent)) == 3


async def test_many_calls_at_once_spend_a_use_once(ledger: str) -> None:
    token = MultiUseShellToken("m", allowed=["true"], max_uses=4)
    async with CapabilitySet([token], ledger=ledger):
        results = await asyncio.gather(*(token.consume("true") for _ in range(40)), return_exceptions=True)
    proofs = [result for result in results if isinstance(result, Proof)]
    assert len(proofs) == 4 and token.consumed
    assert {type(result) for result in results} == {Proof, TokenReusedError}


async def test_without_the_server_nothing_happens(tmp_path: Path) -> None:
    marker = tmp_path / "made"
    token = ShellToken("s", allowed=["touch"])
    nowhere = "postgres://lar_owner:s3cret-of-mine@127.0.0.1:1/ledger"
    capabilities = CapabilitySet([token], ledger=nowhere)
    with pytest.raises(LedgerError) as caught:
        await token.consume(f"touch {marker}")
    assert "s3cret-of-mine" not in str(caught.value) + repr(caught.value) + repr(capabilities)
    assert not marker.exists() and token.uses_remaining == 1


async def test_statements_are_judged_and_carried_out(postgres: pgserver.Postgres) -> None:
    postgres.sql("create table orders (id int, state text); insert into orders values (7, 'paid'), (8, 'new');"
                 "grant select, update on orders to app")
    dsn = postgres.url("app", "postgres")
    token: Any = MultiUseDatabaseToken("orders", dsn=dsn, allowed_patterns=["SELECT"], max_uses=3)
    for wrong in ("DELETE FROM orders", "SELECT 1; DROP TABLE orders", "SELECT pg_sleep(9)",
                  "WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone"):
        with pytest.raises(QueryNotAllowedError):
            await token.consume(wrong)
    assert token.uses_remaining == 3
    proof = await token.consume("SELECT id, state FROM orders WHERE id = $1", [7])
    assert (proof.outcome, token.uses_remaining) == ("succeeded", 2), proof.text
    assert "paid" in proof.output and "new" not in proof.output
    failed = await token.consume("SELECT nothing FROM orders")
    assert failed.outcome == "failed" and postgres.sql("select count(*) from orders") == "2"
