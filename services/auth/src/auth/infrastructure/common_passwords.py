"""The passwords everybody tries first: zxcvbn's list of 30,000."""

import importlib.util
from functools import cache
from pathlib import Path


def is_common(password: str) -> bool:
    """Whether it is on the list, in any case."""
    return password.casefold() in _list()


@cache
def _list() -> frozenset[str]:
    """Loads zxcvbn's list and nothing else of it: importing the package builds 90,000 ranks nobody asks for here."""
    package = importlib.util.find_spec("zxcvbn")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("zxcvbn is not installed")
    path = Path(package.submodule_search_locations[0]) / "frequency_lists.py"
    spec = importlib.util.spec_from_file_location("_zxcvbn_frequency_lists", path)
    if spec is None or spec.loader is None:
        raise RuntimeError("zxcvbn has no frequency lists")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return frozenset(password.casefold() for password in module.FREQUENCY_LISTS["passwords"])
