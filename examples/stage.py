"""A stage for replays: a stand-in for the cluster's API and a page that answers as a health check.

Only `--replay` uses it. A live run goes to your own cluster, by your own kubeconfig.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

ROOT = Path(__file__).resolve().parent.parent


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def stage(example: str) -> Generator[str]:
    """Sets `KUBECONFIG` to a stand-in with the example's cluster, and yields the health check's URL."""
    standin = os.environ.get("LAR_STANDIN")
    command = [standin] if standin else ["cargo", "run", "--quiet", "--package", "standin", "--"]
    page = ThreadingHTTPServer(("127.0.0.1", 0), _Healthy)
    Thread(target=page.serve_forever, daemon=True).start()
    with TemporaryDirectory() as directory:
        kubeconfig = Path(directory, "kubeconfig")
        cluster = ROOT / "examples" / example / "cluster.json"
        line = [*command, "kube", "--script", str(cluster), "--kubeconfig", str(kubeconfig)]
        with subprocess.Popen(
            line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdin is not None and server.stdout is not None
            server.stdout.readline()
            os.environ["KUBECONFIG"] = str(kubeconfig)
            try:
                yield f"http://127.0.0.1:{page.server_address[1]}/health"
            finally:
                server.stdin.close()
                page.shutdown()
