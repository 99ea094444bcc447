"""The public keys of bus agents, as files."""

import stat
from itertools import count
from pathlib import Path

import nkeys
import pytest

from deploy.nats import agent_keys

ONE, OTHER = "0193a3c0-0000-7000-8000-000000000001", "0193a3c0-0000-7000-8000-000000000002"
KEY = agent_keys.new_pair()[1]


def test_a_pair_is_a_users_seed_and_its_public_key() -> None:
    seed, public_key = agent_keys.new_pair()

    assert nkeys.from_seed(bytearray(seed.encode())).public_key.decode() == public_key
    assert (seed[:2], public_key[0]) == ("SU", "U")
    assert agent_keys.new_pair() != (seed, public_key)


def test_an_agent_has_one_key_which_is_private_to_us(tmp_path: Path) -> None:
    keys = [agent_keys.new_pair()[1] for _ in range(3)]

    for id, key in zip((ONE, OTHER, ONE), keys, strict=True):
        agent_keys.keep(tmp_path, id, key)

    assert agent_keys.known(tmp_path) == {ONE: keys[2], OTHER: keys[1]}
    assert {stat.S_IMODE(path.stat().st_mode) for path in agent_keys.files(tmp_path)} == {0o600}
    assert stat.S_IMODE((tmp_path / "agents").stat().st_mode) == 0o700


def test_keys_of_agents_that_are_no_more_are_dropped(tmp_path: Path) -> None:
    for id in (ONE, OTHER):
        agent_keys.keep(tmp_path, id, agent_keys.new_pair()[1])

    dropped = agent_keys.drop_others(tmp_path, {OTHER})

    assert (dropped, list(agent_keys.known(tmp_path))) == ([ONE], [OTHER])


def test_before_the_first_key_there_is_nothing(tmp_path: Path) -> None:
    assert (agent_keys.known(tmp_path), agent_keys.drop_others(tmp_path, set())) == ({}, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "content"), [(ONE, "nonsense"), (ONE, ""), ("x", KEY)], ids=count())
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / f"{name}.pub").write_text(content)

    with pytest.raises(ValueError, match=rf"{name}\.pub"):
        agent_keys.known(tmp_path)


@pytest.mark.parametrize(("id", "key"), [("*", KEY), (ONE, "U"), (ONE, 'UA" } ]')], ids=count())
def test_what_would_say_more_in_the_configuration_is_not_kept(tmp_path: Path, id: str, key: str) -> None:
    with pytest.raises(ValueError, match="not an agent's"):
        agent_keys.keep(tmp_path, id, key)
