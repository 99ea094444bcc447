"""Portkey's gateway, from npm: no keys of its own, no record; it runs as a cluster of Node's processes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.peers.peer import BUILD, WORKERS, CannotBeInstalled, run_quietly

_VERSION = "1.15.2"
_HOME = BUILD / f"portkey-{_VERSION}"
_SERVER = _HOME / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": _VERSION},
    # With those after 1.13 every stream ends in "TypeError: immutable" (Portkey-AI/gateway#1389).
    "overrides": {"@hono/node-server": "1.13.5"},
}


class Portkey:
    """The gateway as `npx @portkey-ai/gateway` starts it, twice on one port."""

    name = f"Portkey {_VERSION}"

    def install(self) -> None:
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise CannotBeInstalled("there is no node or no npm")
        if not _SERVER.exists():
            _HOME.mkdir(parents=True, exist_ok=True)
            (_HOME / "package.json").write_text(json.dumps(_PACKAGE))
            run_quietly(["npm", "install", "--ignore-scripts", "--no-fund", "--no-audit"], cwd=_HOME)

    def command(self, *, port: int, upstream_port: int) -> Sequence[str]:
        return ["node", str(Path(__file__).parent / "cluster.mjs"), f"--port={port}", "--headless"]

    def environment(self) -> Mapping[str, str]:
        return {"NODE_ENV": "production", "SERVER": str(_SERVER), "WORKERS": str(WORKERS)}

    def api_key(self) -> str:
        return "none"

    def headers(self, *, upstream_port: int) -> Mapping[str, str]:
        return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1"}
