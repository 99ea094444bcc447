"""LiteLLM's proxy, from PyPI, in an environment of its own: a master key, no database, no callbacks."""

import json
import secrets
import sys
from collections.abc import Mapping, Sequence

from tests.bench.peers.peer import BUILD, WORKERS, run_quietly
from tests.bench.upstream_streams import MODEL

_VERSION = "1.108.7"
_HOME = BUILD / f"litellm-{_VERSION}"
_SLOW_START_S = 120


class LiteLlm:
    """The proxy under uvicorn, as its own command starts it."""

    name = f"LiteLLM {_VERSION}"

    def __init__(self) -> None:
        self._key = f"sk-{secrets.token_urlsafe(32)}"

    def install(self) -> None:
        if not (_HOME / "bin" / "litellm").exists():
            BUILD.mkdir(parents=True, exist_ok=True)
            run_quietly([sys.executable, "-m", "venv", "--clear", str(_HOME)], cwd=BUILD)
            run_quietly([str(_HOME / "bin" / "pip"), "install", f"litellm[proxy]=={_VERSION}"], cwd=BUILD)

    def command(self, *, port: int, upstream_port: int) -> Sequence[str]:
        config = _HOME / "config.yaml"
        upstream = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "none"}
        content = {
            "model_list": [{"model_name": MODEL, "litellm_params": upstream}],
            "general_settings": {"master_key": self._key},
        }
        config.write_text(json.dumps(content))  # YAML too
        proxy = [str(_HOME / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        # Its workers take longer to import it than uvicorn waits for a sign of life.
        return [*proxy, "--num_workers", str(WORKERS), "--timeout_worker_healthcheck", str(_SLOW_START_S)]

    def environment(self) -> Mapping[str, str]:
        return {"LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def api_key(self) -> str:
        return self._key

    def headers(self, *, upstream_port: int) -> Mapping[str, str]:
        return {}
