"""A private PostgreSQL server: a new cluster in a temporary directory, reached through a socket there, and
gone at the end, even when the tests are killed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

# Its input ends with the tests' process, however that ends.
GUARD = """
"$1/pg_ctl" start -w -D "$2/data" -l "$2/log" >/dev/null && echo ready
cat >/dev/null
"$1/pg_ctl" stop -m immediate -D "$2/data" >/dev/null
rm -rf "$2"
"""


@dataclass
class Postgres:
    """A running server that trusts whoever reaches its socket."""

    programs: Path
    directory: Path
    account: dict[str, Any]

    def url(self, role: str, database: str, password: str | None = None) -> str:
        secret = f":{password}" if password else ""
        return f"postgres://{role}{secret}@{quote(str(self.directory), safe='')}/{database}"

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Runs statements as the superuser, and returns what psql prints."""
        line = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.directory), "-U", "postgres"]
        ended = subprocess.run([*line, "-d", database, "-c", statements], capture_output=True, text=True,
                               check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()


def _programs() -> Path:
    beside = shutil.which("initdb")
    found = [Path(beside).resolve().parent] if beside else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    for directory in found:
        if all((directory / name).is_file() for name in ("initdb", "postgres", "pg_ctl")):
            return directory
    pytest.skip("no PostgreSQL server is installed here; `cargo xtask test --install` installs one")


def _account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def server() -> Iterator[Postgres]:
    """Starts one, or skips the test by name where there is none to start."""
    programs, account = _programs(), _account()
    directory = Path(tempfile.mkdtemp(prefix="lar-pg-"))
    if account:
        os.chown(directory, account["user"], account["group"])
    plain = {"cwd": "/", "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}, **account}
    make = [programs / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C",
            "--no-sync", "--no-instructions", "-D", directory / "data"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, **plain)
    settings = directory / "data" / "postgresql.auto.conf"
    settings.write_text(f"unix_socket_directories = '{directory}'\nlisten_addresses = ''\n"
                        "shared_buffers = '32MB'\ntimezone = 'UTC'\n")
    guard = subprocess.Popen(["/bin/sh", "-c", GUARD, "guard", programs, directory], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, **plain)
    assert guard.stdin is not None and guard.stdout is not None
    try:
        assert guard.stdout.readline() == "ready\n", (directory / "log").read_text()
        yield Postgres(programs, directory, account)
    finally:
        guard.stdin.close()
        guard.wait(60)
        guard.stdout.close()
