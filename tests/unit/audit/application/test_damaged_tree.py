"""The tree of a log that somebody wrote into while no process of it ran, and of one whose key was being changed."""

from pathlib import Path

import pytest

from audit.application.appends import Appends
from audit.application.key_changes import KeyChanges
from audit.application.knowledge import Knowledge
from audit.application.tree import Tree, TreeBroken, require_origin
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import SqliteLogWriter
from shared.bus import CallContext, call_context
from shared.errors import Forbidden
from shared.principal import Caller, Principal, PrincipalKind, Role
from shared.tlog.checkpoints import open_checkpoint
from shared.tlog.key_changes import key_change
from tests.unit.audit.application.replicas import ORIGIN, NewWriter, Replica, signed_log
from tests.unit.audit.logs import draft, fill, forge


def changes(writer: SqliteLogWriter, tree: Tree, knowledge: Knowledge, keys: NoteKeys) -> KeyChanges:
    return KeyChanges(tree, keys, Appends(writer, knowledge))


def asked_by(role: Role) -> CallContext:
    who = Principal(
        kind=PrincipalKind.LOCAL_OPERATOR, user_id="local-operator", email="", role=role, credential_id="ann"
    )
    return call_context(seconds=5, caller=Caller(principal=who))


@pytest.mark.parametrize("value", ["zeroblob(32)", "'no hash'"])
@pytest.mark.parametrize("size", [256, 512, 300])
async def test_a_last_entry_that_is_not_the_signed_one_is_not_gone_on_from(
    log_file: Path, replica: Replica, size: int, value: str
) -> None:
    before, _ = replica()
    await signed_log(log_file, before, size)
    forge(log_file, f'UPDATE entries SET fingerprint = {value} WHERE "index" = {size - 1}')
    after, knowledge = replica()

    with pytest.raises(TreeBroken):
        await after.grow()

    assert knowledge.first_bad is not None
    assert "not what was signed" in after.complaint


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE tiles SET hashes = 'x'",
        "UPDATE checkpoints SET note = x'00'",
        "UPDATE checkpoints SET note = CAST(x'ff' AS TEXT)",
    ],
)
async def test_what_is_no_tile_or_checkpoint_any_more_is_said_and_not_only_stumbled_over(
    log_file: Path, replica: Replica, sql: str
) -> None:
    before, _ = replica()
    await signed_log(log_file, before, 300)
    forge(log_file, sql)
    after, knowledge = replica()

    with pytest.raises(TreeBroken):
        await after.grow()

    assert (knowledge.first_bad, "from entry 0 on" in after.complaint) == (0, True)
    require_origin(SqliteLogReader(log_file), ORIGIN)  # and what happens now can be recorded nevertheless


async def test_what_is_no_tile_any_more_proves_nothing(log_file: Path, replica: Replica) -> None:
    tree, knowledge = replica()
    await signed_log(log_file, tree, 300)
    forge(log_file, "UPDATE tiles SET hashes = 'x' WHERE level = 0")

    with pytest.raises(TreeBroken):
        await tree.inclusion(3)

    assert knowledge.first_bad == 3


async def test_a_log_that_is_no_database_any_more_is_said_to_be_bad(log_file: Path, replica: Replica) -> None:
    tree, knowledge = replica()
    await signed_log(log_file, tree, 3)
    for suffix in ("-wal", "-shm"):
        Path(f"{log_file}{suffix}").unlink(missing_ok=True)
    log_file.write_bytes(b"no database at all" * 1000)

    with pytest.raises(TreeBroken):
        await tree.grow()

    assert knowledge.first_bad is not None


async def test_a_change_of_the_key_is_met_whatever_stands_beside_its_body(
    log_file: Path, replica: Replica, keys: NoteKeys
) -> None:
    tree, _ = replica()
    new = keys.prepare_next().verifier
    await fill(log_file, [draft(action="audit.key_changed", details={"note": key_change(keys.current(), new)})])
    forge(log_file, "UPDATE entries SET action = 'agent.request'")

    await tree.grow()

    newest = await tree.newest()
    assert newest is not None
    assert open_checkpoint(newest.note, new).size == 1


async def test_a_change_that_another_replica_began_and_died_in_is_finished_before_the_next(
    log_file: Path, replica: Replica, keys: NoteKeys, new_writer: NewWriter
) -> None:
    tree, knowledge = replica()
    await signed_log(log_file, tree, 3)
    knowledge.committed(tree.grown.head)
    first = keys.current()
    second = keys.prepare_next().verifier
    await fill(log_file, [draft(action="audit.key_changed", details={"note": key_change(first, second)})])

    changed = await changes(new_writer(), tree, knowledge, keys).change(asked_by(Role.ADMIN))

    newest = await tree.newest()
    assert newest is not None
    assert open_checkpoint(newest.note, changed.new).size == changed.index + 1
    assert (changed.old, keys.current().verifier) == (second, changed.new)
    assert keys.retired() == [first.verifier, second]


async def test_a_change_that_died_before_its_entry_is_as_if_it_had_never_been(
    log_file: Path, replica: Replica, keys: NoteKeys, new_writer: NewWriter
) -> None:
    keys.prepare_next()
    tree, knowledge = replica()
    await signed_log(log_file, tree, 3)

    newest = await tree.newest()
    assert newest is not None
    first = keys.current().verifier
    assert open_checkpoint(newest.note, first).size == 3

    changed = await changes(new_writer(), tree, knowledge, keys).change(asked_by(Role.ADMIN))
    assert changed.old == first


async def test_whoever_is_no_admin_changes_no_key(replica: Replica, keys: NoteKeys, new_writer: NewWriter) -> None:
    tree, knowledge = replica()
    before = keys.current().verifier

    with pytest.raises(Forbidden):
        await changes(new_writer(), tree, knowledge, keys).change(asked_by(Role.OPERATOR))

    assert keys.current().verifier == before
