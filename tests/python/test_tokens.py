"""Tokens one by one: what they say of themselves, what they refuse, and what a use of them does."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Site

import linear_agentics as la
from linear_agentics import tokens as t


def kinds(directory: Path) -> list[t.LinearToken]:
    return [
        t.ShellToken("shell", allowed=["echo hello"]),
        t.MultiUseShellToken("shells", allowed=["echo hello", "true"], max_uses=3),
        t.HttpToken("http", url="https://api.internal/health", methods=["GET"]),
        t.FileToken("file", allowed_paths=[directory]),
        t.MultiUseFileToken("files", allowed_paths=[directory], mode="readwrite", max_uses=2),
        t.DeployToken("deploy", method="kubectl", target="production", image="app:v2.3.1",
                      rollback_to="app:v2.3.0", requires_approval=True),
        t.SecretToken("secret", t.ShellToken("inner", allowed=["env"]), value="long enough secret",
                      injection=t.SecretInjection(env="DATABASE_URL")),
        t.WaitToken("wait", max_seconds=3),
    ]


def test_every_kind_says_what_it_is(tmp_path: Path) -> None:
    for token in kinds(tmp_path):
        assert isinstance(token, t.LinearToken)
        assert token.uses_remaining == token.max_uses and not token.consumed
        assert token.proof is None
        definition = token.to_tool_definition()
        assert definition["name"] == token.tool_name
        assert definition["input_schema"]["type"] == "object"
        assert definition["description"]
        assert repr(token.name)[1:-1] in repr(token) and type(token).__name__ in repr(token)
        assert isinstance(token, t.MultiUseToken) == type(token).__name__.startswith("MultiUse")
        doc = type(token).__doc__ or ""
        assert ">>>" in doc, f"{type(token)} has no example"


def test_a_token_is_never_copied(tmp_path: Path) -> None:
    for token in kinds(tmp_path):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="a copy would be a second use"):
                attempt(token)  # type: ignore[operator]
    with pytest.raises(TypeError, match="doubled"):
        pickle.dumps(la.CapabilitySet([]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: t.ShellToken("x", allowed=[]), "allowed"),
        (lambda: t.ShellToken("x", allowed=["a | b"]), "|"),
        (lambda: t.ShellToken("x y", allowed=["a"]), "letters, digits"),
        (lambda: t.ShellToken("x", allowed=["a"], timeout=-1), "timeout"),
        (lambda: t.ShellToken("x", allowed=["a"], timeout=timedelta(days=2)), "at most a day"),
        (lambda: t.ShellToken("x", allowed=["a"], expires="tomorrow"), "RFC 3339"),
        (lambda: t.MultiUseShellToken("x", allowed=["a"], max_uses=0), "max_uses"),
        (lambda: t.HttpToken("x", url="nowhere", methods=["GET"]), "url"),
        (lambda: t.HttpToken("x", url="https://a/", methods=[]), "methods"),
        (lambda: t.FileToken("x", allowed_paths=["relative"]), "relative"),
        (lambda: t.FileToken("x", allowed_paths=["/"], mode="all"), "mode"),  # type: ignore[arg-type]
        (lambda: t.WaitToken("x", 0), "max_seconds"),
        (lambda: t.DeployToken("x", method="ftp", target="p", image="i"), "kubectl"),  # type: ignore[arg-type]
        (lambda: t.DeployToken("x", method="command", target="p", image="i"), "argv"),
        (lambda: t.DeployToken("x", method="kubectl", target="p", image="i", argv=["a"]), "command"),
        (lambda: t.SecretInjection(), "one place"),
        (lambda: t.SecretToken("x", t.WaitToken("w", 1), value="12345678",
                               injection=t.SecretInjection(env="A")), "inner token"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(make: Any, says: str) -> None:
    with pytest.raises(la.TokenDefinitionError) as caught:
        make()
    assert says in str(caught.value)
    assert isinstance(caught.value, la.TokenError)


def test_expiry_takes_a_moment() -> None:
    moment = datetime(2099, 1, 1, tzinfo=UTC)
    assert t.ShellToken("x", allowed=["true"], expires=moment).check("true")
    with pytest.raises(la.TokenDefinitionError):
        t.ShellToken("x", allowed=["true"], expires=datetime(2099, 1, 1))


async def test_an_expired_token_is_closed() -> None:
    token = t.ShellToken("x", allowed=["true"], expires="2020-01-01T00:00:00Z")
    with pytest.raises(la.TokenClosedError, match="expired"):
        await token.consume("true")
    assert token.uses_remaining == 1


def test_check_says_what_would_happen(tmp_path: Path) -> None:
    shell, _, http, file, files, deploy, secret, wait = kinds(tmp_path)
    assert isinstance(shell, t.ShellToken)
    action = shell.check("echo hello 'two words'")
    assert (action.kind, action.argv) == ("shell", ["echo", "hello", "two words"])
    assert len(action.digest) == 64 and action.digest != shell.check("echo hello").digest
    assert isinstance(http, t.HttpToken)
    assert (http.check().method, http.check("get").url) == ("GET", "https://api.internal/health")
    assert isinstance(file, t.FileToken)
    assert file.check("read", tmp_path / "a").path == str(tmp_path / "a")
    assert isinstance(deploy, t.DeployToken)
    assert dict(deploy.check().lines)["image"] == "app:v2.3.1"
    assert isinstance(secret, t.SecretToken)
    assert secret.check("env").argv == ["env"] == secret.check(command="env").argv
    assert "long enough" not in repr(secret.check("env").to_dict())
    assert isinstance(wait, t.WaitToken)
    assert wait.check(2).to_dict() == {"kind": "wait", "seconds": 2}
    assert all(token.uses_remaining == token.max_uses for token in (shell, http, file, files, wait))


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("rm -rf /", la.CommandNotAllowedError),
        ("echo hellox", la.CommandNotAllowedError),
        ("echo hello; rm -rf /", la.CommandNotAllowedError),
        ("echo hello $(id)", la.CommandNotAllowedError),
        ("echo hello \udc80", la.InvalidInputError),
    ],
)
def test_what_is_outside_is_refused(command: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        t.ShellToken("x", allowed=["echo hello"]).check(command)


OUTSIDE: list[tuple[str, Callable[[Path], Any], tuple[Any, ...], dict[str, Any], str]] = [
    ("shell", lambda _: t.ShellToken("x", allowed=["kubectl get pods"]), ("rm -rf /",),
     {"command": "rm -rf /"}, "CommandNotAllowedError"),
    ("shell", lambda _: t.MultiUseShellToken("x", allowed=["psql -c 'SELECT"], max_uses=2),
     ("psql -c 'SELECT 1; DROP TABLE a'",), {"command": "psql -c 'SELECT 1; DROP TABLE a'"},
     "CommandNotAllowedError"),
    ("http", lambda _: t.HttpToken("x", url="https://a/", methods=["GET"]), ("DELETE",),
     {"method": "DELETE"}, "TokenScopeError"),
    ("file", lambda d: t.FileToken("x", allowed_paths=[d]), ("read", "/etc/passwd"),
     {"operation": "read", "path": "/etc/passwd"}, "FileAccessError"),
    ("file", lambda d: t.MultiUseFileToken("x", allowed_paths=[d], max_uses=2), ("write", "a", "text"),
     {"operation": "write", "path": "a", "content": "text"}, "FileAccessError"),
    ("database", lambda d: t.DatabaseToken("x", dsn=f"sqlite:{d}/a.db", allowed_patterns=["SELECT"]),
     ("DELETE FROM a",), {"query": "DELETE FROM a"}, "QueryNotAllowedError"),
    ("database", lambda d: t.MultiUseDatabaseToken("x", dsn="postgres://u@127.0.0.1/d", max_uses=2,
                                                   allowed_patterns=["SELECT"]),
     ("SELECT 1; DROP TABLE a",), {"query": "SELECT 1; DROP TABLE a"}, "QueryNotAllowedError"),
    ("secret", lambda _: t.SecretToken("x", t.ShellToken("i", allowed=["env"]), value="long enough",
                                       injection=t.SecretInjection(env="A")), ("rm -rf /",),
     {"command": "rm -rf /"}, "CommandNotAllowedError"),
    ("wait", lambda _: t.WaitToken("x", 3), (4,), {"seconds": 4}, "TokenScopeError"),
]


@pytest.mark.parametrize(("kind", "make", "arguments", "tool_input", "name"), OUTSIDE)
async def test_what_lies_outside_has_one_error_everywhere(
    kind: str, make: Any, arguments: Any, tool_input: Any, name: str, tmp_path: Path
) -> None:
    """The dry run, a use, and a model's call say the same, and the record says its name."""
    error = getattr(la, name)
    assert issubclass(error, la.TokenScopeError) and issubclass(error, la.TokenError)
    # The state directory lies beside it: a token that reaches the keys is refused.
    directory = tmp_path / "data"
    directory.mkdir()
    token = make(directory)
    assert token.kind == kind
    async with la.CapabilitySet([token]) as capabilities:
        tool = token.tool_name
        for dry in (lambda: token.check(*arguments), lambda: capabilities.check(tool, tool_input)):
            with pytest.raises(la.TokenScopeError) as caught:
                dry()
            assert type(caught.value) is error
        for wet in (token.consume(*arguments), capabilities.dispatch(tool, tool_input)):
            with pytest.raises(la.TokenScopeError) as again:
                await wet
            assert type(again.value) is error and str(again.value) == str(caught.value)
            assert again.value.token_name == caught.value.token_name == "x"
        trail = await capabilities.audit_trail()
        assert trail is not None and not trail.proofs
        assert [record.error_type for record in trail.errors] == [name, name]
        assert [record.token_name for record in trail.errors] == ["x", "x"]
        assert trail.errors[0].message == str(caught.value)
    assert token.uses_remaining == token.max_uses and token.proof is None


def test_what_is_no_input_at_all() -> None:
    with pytest.raises(la.InvalidInputError):
        t.HttpToken("h", url="https://a/", methods=["POST"]).check("POST", {"x": float("nan")})
    with pytest.raises(la.InvalidInputError):
        t.WaitToken("w", 3).check(-1)


async def test_a_use_is_spent_once_and_proved() -> None:
    token = t.ShellToken("once", allowed=["echo hello"])
    proof = await token.consume("echo hello world")
    assert (proof.outcome, proof.exit_code, proof.output) == ("succeeded", 0, "hello world\n")
    assert proof.args == {"kind": "shell", "argv": ["echo", "hello", "world"]}
    assert proof.program is not None and proof.program["path"].endswith("/echo")
    assert proof.to_dict()["token_name"] == "once" and "hello world" in proof.text
    assert token.consumed and token.proof is not None and token.proof.seq == proof.seq
    for again in (token.consume("echo hello"), token.consume("rm -rf /")):
        with pytest.raises(la.TokenReusedError, match="is used up"):
            await again
    with pytest.raises(la.TokenReusedError):
        token.check("echo hello")
    with pytest.raises(AttributeError):
        proof.outcome = "failed"  # type: ignore[misc]


async def test_a_refusal_spends_nothing_and_a_failure_does() -> None:
    token = t.MultiUseShellToken("two", allowed=["false", "sh-that-is-not-there"], max_uses=2)
    with pytest.raises(la.CommandNotAllowedError):
        await token.consume("true")
    assert token.uses_remaining == 2
    with pytest.raises(la.NeverBeganError, match="given back"):
        await token.consume("sh-that-is-not-there")
    assert token.uses_remaining == 2
    proof = await token.consume("false")
    assert (proof.outcome, proof.exit_code, proof.reason) == ("failed", 1, "exit 1")
    assert token.uses_remaining == 1


def test_required_arguments_may_stand_in_their_order(tmp_path: Path) -> None:
    assert t.MultiUseShellToken("m", ["true"], 5).max_uses == 5
    assert t.DeployToken("d", "kubectl", "production", "app:v2").check().method == "kubectl"
    inner = t.ShellToken("inner", ["env"])
    assert t.SecretToken("s", inner, t.SecretInjection(env="A"), value="long enough").check("env").argv == ["env"]
    # What a token takes may be said by its names, whatever its kind.
    token: t.LinearToken = t.MultiUseFileToken("f", [tmp_path], "readwrite", max_uses=2)
    assert token.check(operation="read", path=str(tmp_path / "a")).path == str(tmp_path / "a")
    assert t.LinearToken.check(token, operation="read", path=str(tmp_path / "a")).kind == "file"
    with pytest.raises(TypeError, match="name"):
        t.LinearToken.check(token, "read")
    secret = t.SecretToken("s", t.ShellToken("i", ["env"]), t.SecretInjection(env="A"), value="long enough")
    with pytest.raises(TypeError, match="two values"):
        secret.check("env", command="env")


async def test_records_with_the_same_words_are_equal() -> None:
    token = t.MultiUseShellToken("m", ["echo"], 3)
    async with la.CapabilitySet([token]) as capabilities:
        first, second = await token.consume("echo a"), await token.consume("echo a")
        with pytest.raises(la.CommandNotAllowedError):
            await token.consume("id")
        trail, again = await capabilities.audit_trail(), await capabilities.audit_trail()
    assert trail is not None and again is not None
    assert trail.proofs == [first, second] == again.proofs and first != second
    assert len({first, second, *trail.proofs}) == 2 and first != "a proof"
    assert trail.errors == again.errors and trail.errors[0].attempt == again.errors[0].attempt
    assert first.tier in ("A", "B", "C") and first.approval_seq is None and first.resolution is None
    assert first.to_dict().get("stderr_digest") == first.stderr_digest


async def test_a_lone_token_says_which_confinement_will_do() -> None:
    assert (await t.ShellToken("s", ["true"], min_tier="C").consume("true")).outcome == "succeeded"
    with pytest.raises(la.SandboxError, match="min_tier"):
        t.ShellToken("s", ["true"], min_tier="D")


async def test_a_narrower_token_takes_its_uses_with_it(tmp_path: Path) -> None:
    pods = t.MultiUseShellToken("pods", allowed=["echo"], max_uses=5)
    hi = pods.attenuate(max_uses=2, allowed=["echo hi"])
    assert type(hi) is t.MultiUseShellToken and hi.name == "pods"
    assert (pods.uses_remaining, hi.uses_remaining, hi.max_uses) == (3, 2, 2)
    for _ in range(2):
        with pytest.raises(la.CommandNotAllowedError):
            await hi.consume("echo ho")
        await hi.consume("echo hi you")
    with pytest.raises(la.TokenReusedError):
        await hi.consume("echo hi")
    assert (await pods.consume("echo ho")).outcome == "succeeded" and pods.uses_remaining == 2
    with pytest.raises(la.TokenClosedError, match="before its first use"):
        pods.attenuate(max_uses=1)


def test_a_narrower_token_is_proved_to_be_narrower(tmp_path: Path) -> None:
    shell = t.MultiUseShellToken("s", allowed=["kubectl get"], max_uses=3)
    http = t.HttpToken("h", "https://a/", ["GET", "POST"], max_uses=2)
    file = t.MultiUseFileToken("f", [tmp_path], "readwrite", max_uses=2, max_bytes=100)
    database = t.MultiUseDatabaseToken("d", dsn=f"sqlite:{tmp_path}/a.db", allowed_patterns=["SELECT"], max_uses=2)
    wait = t.WaitToken("w", 10)
    wrong: list[tuple[t.LinearToken, dict[str, Any], str]] = [
        (shell, {"allowed": ["kubectl"]}, "allowed"), (shell, {"max_uses": 4}, "max_uses"),
        (shell, {"max_uses": 0}, "max_uses"), (shell, {"methods": ["GET"]}, "methods"),
        (http, {"methods": ["DELETE"]}, "methods"), (file, {"mode": "all"}, "mode"),
        (file, {"allowed_paths": ["/etc"]}, "allowed_paths"), (file, {"max_bytes": 101}, "max_bytes"),
        (database, {"allowed_patterns": ["DELETE"]}, "allowed_patterns"),
        (wait, {"max_seconds": 11}, "max_seconds"), (wait, {"timeout": 5}, "timeout"),
        (wait, {"expires": "soon"}, "expires"),
    ]
    for token, narrowing, field in wrong:
        with pytest.raises(la.TokenDefinitionError, match=field):
            token.attenuate(**narrowing)
        assert token.uses_remaining == token.max_uses
    right: list[tuple[t.LinearToken, dict[str, Any]]] = [
        (shell, {"allowed": ["kubectl get pods -n prod"], "timeout": 3, "requires_approval": True}),
        (http, {"methods": ["get"], "max_bytes": 10}), (file, {"mode": "read", "allowed_paths": [tmp_path / "a"]}),
        (database, {"allowed_patterns": ["SELECT"], "row_limit": 1}), (wait, {"max_seconds": 3}),
    ]
    for token, narrowing in right:
        child = token.attenuate(max_uses=1, expires="2099-01-01T00:00:00Z", **narrowing)
        assert type(child) is type(token) and child.uses_remaining == 1
        assert token.uses_remaining == token.max_uses - 1
        assert len(la.CapabilitySet([child])) == 1
    with pytest.raises(la.TokenClosedError):
        wait.attenuate()
    assert shell.attenuate().uses_remaining == 2 and shell.uses_remaining == 0


async def test_requests_follow_no_redirect(site: Site) -> None:
    token = t.HttpToken("moved", url=f"{site.url}/moved", methods=["GET"])
    proof = await token.consume()
    assert proof.http_status == 302 and [path for _, path, _, _ in site.seen] == ["/moved"]
    token = t.HttpToken("post", url=f"{site.url}/x", methods=["POST"], headers={"x-team": "sre"})
    await token.consume("POST", {"a": [1, None, "ü"]})
    method, _, headers, body = site.seen[-1]
    assert method == "POST" and {k.lower(): v for k, v in headers.items()}["x-team"] == "sre"
    assert body.decode() in ('{"a": [1, null, "\\u00fc"]}', '{"a":[1,null,"ü"]}')


async def test_files_are_read_and_replaced(tmp_path: Path) -> None:
    # The state directory lies beside it: what a token may write is never what the run trusts.
    files = tmp_path / "files"
    files.mkdir()
    (files / "config").write_text("port = 80")
    (files / "link").symlink_to("/etc/passwd")
    token = t.MultiUseFileToken("f", allowed_paths=[files], mode="readwrite", max_uses=3)
    assert (await token.consume("read", files / "config")).output == "port = 80"
    await token.consume("write", files / "config", "port = 81")
    assert (files / "config").read_text() == "port = 81"
    with pytest.raises(la.FileAccessError, match="leads outside"):
        await token.consume("read", files / "link")
    assert token.uses_remaining == 1


async def test_a_secret_reaches_the_child_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", "s3cret-and-long")
    inner = t.ShellToken("inner", allowed=["env"])
    injection = t.SecretInjection(env="DATABASE_URL", format="postgres://u:{secret}@h/d")
    token = t.SecretToken("s", inner, env="THE_SECRET", injection=injection)
    with pytest.raises(la.TokenError):
        await inner.consume("env")
    proof = await token.consume("env")
    assert "DATABASE_URL=" in proof.output
    assert "s3cret" not in proof.text + repr(proof.to_dict()) + repr(token)


async def test_a_missing_secret_starts_nothing() -> None:
    token = t.SecretToken("s", t.ShellToken("inner", allowed=["env"]), env="NOT_SET_AT_ALL",
                          injection=t.SecretInjection(env="A"))
    with pytest.raises(la.SetupError, match="NOT_SET_AT_ALL"):
        await token.consume("env")
    assert token.uses_remaining == 1


async def test_a_deployment_and_its_way_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    log = tmp_path / "out/deployed"
    token = t.DeployToken("d", method="command", target="here", image="app:v2",
                          argv=["touch", f"{log}-{{image}}"], rollback_to="app:v1",
                          rollback_argv=["touch", f"{log}-{{image}}"], writes=[tmp_path / "out"])
    with pytest.raises(la.TokenClosedError, match="was not spent"):
        await token.rollback()
    assert (await token.consume()).outcome == "succeeded"
    assert Path(f"{log}-app:v2").exists() and not Path(f"{log}-app:v1").exists()
    assert (await token.rollback()).outcome == "succeeded"
    assert Path(f"{log}-app:v1").exists()
    with pytest.raises(la.TokenReusedError):
        await token.rollback()


def test_unused_tokens_warn_once_and_can_be_filtered() -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        token = t.ShellToken("forgotten", allowed=["true"])
        gone = weakref.ref(token)
        del token
        gc.collect()
        assert gone() is None
    assert [str(w.message) for w in seen] == ["token `forgotten` was never used"]
    assert seen[0].category is la.UnusedTokenWarning and issubclass(seen[0].category, ResourceWarning)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("ignore", la.UnusedTokenWarning)
        t.ShellToken("forgotten", allowed=["true"])
        gc.collect()
    assert not seen


def test_a_token_whose_uses_went_to_another_does_not_warn() -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        token = t.WaitToken("w", 1)
        child = token.attenuate(max_seconds=1)
        del token
        gc.collect()
        assert not seen
        del child
        gc.collect()
    assert len(seen) == 1


async def test_used_and_reported_tokens_do_not_warn() -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        token = t.WaitToken("w", 1)
        await token.consume(0)
        del token
        capabilities = la.CapabilitySet([t.WaitToken("w", 1)])
        assert capabilities.unused_tokens() == ["w"]
        del capabilities
        gc.collect()
    assert not seen


async def test_one_judged_statement_at_a_time(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "orders.db"
    with sqlite3.connect(path) as orders:
        orders.execute("create table orders (id integer, state text)")
        orders.execute("insert into orders values (7, 'paid')")
    token = t.MultiUseDatabaseToken("orders", dsn=f"sqlite:{path}", allowed_patterns=["SELECT"], max_uses=2)
    proof = await token.consume("SELECT state FROM orders WHERE id = ?", [7])
    assert proof.outcome == "succeeded" and "paid" in proof.output, proof.text
    assert token.uses_remaining == 1
    with pytest.raises(la.TokenDefinitionError, match="one place"):
        t.DatabaseToken("x", allowed_patterns=["SELECT"])
