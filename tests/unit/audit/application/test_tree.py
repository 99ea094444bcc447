"""The tree of the log: growing, signing, proving, two replicas, and what is never signed."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from audit.application import growing
from audit.application.checkpointing import Checkpointer
from audit.application.knowledge import Status
from audit.application.ports import KeysUnusable
from audit.application.tree import NotCovered, OtherOrigin, Tree, TreeBroken, require_origin
from audit.domain.chain import EMPTY, Head, fingerprint
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.key_changes import key_change
from shared.tlog.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from shared.tlog.notes import Signer, note_of
from tests.unit.audit.application.replicas import ORIGIN, Replica, signed_log
from tests.unit.audit.logs import draft, fill, forge, stored
from tests.waiting import until


def roots(log_file: Path, size: int) -> bytes:
    rows = stored(log_file, 'SELECT fingerprint FROM entries ORDER BY "index" LIMIT ?', size)
    return root_of(leaf_hash(row[0]) for row in rows)


async def test_what_was_appended_is_signed_by_the_logs_key(log_file: Path, replica: Replica, keys: NoteKeys) -> None:
    tree, _ = replica()

    await signed_log(log_file, tree, 300)

    newest = await tree.newest()
    assert newest is not None
    assert open_checkpoint(newest.note, keys.current().verifier) == Checkpoint(ORIGIN, 300, roots(log_file, 300))
    assert stored(log_file, "SELECT size, note FROM checkpoints") == [(300, newest.note)]


async def test_without_news_nothing_is_signed(log_file: Path, replica: Replica) -> None:
    tree, _ = replica()

    assert await tree.grow() is False
    assert await tree.newest() is None
    await signed_log(log_file, tree, 3)
    await tree.grow()

    assert stored(log_file, "SELECT size FROM checkpoints") == [(3,)]


async def test_a_long_log_is_taken_in_by_slices_and_only_the_last_checkpoints_are_kept(
    log_file: Path, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "AT_ONCE", 10)
    tree, _ = replica()

    await signed_log(log_file, tree, 1500)

    kept = [size for (size,) in stored(log_file, "SELECT size FROM checkpoints ORDER BY size")]
    assert (len(kept), kept[-1], tree.grown.edge.root) == (100, 1500, roots(log_file, 1500))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
async def test_a_process_that_begins_goes_on_where_the_one_before_was(
    log_file: Path, replica: Replica, size: int
) -> None:
    before, _ = replica()
    await signed_log(log_file, before, size)
    after, knowledge = replica()

    await signed_log(log_file, after, 100)

    assert after.grown.edge.size == size + 100
    assert after.grown.edge.root == roots(log_file, size + 100)
    assert knowledge.first_bad is None


async def test_two_replicas_keep_one_line_of_checkpoints(log_file: Path, replica: Replica) -> None:
    (one, _), (other, _) = replica(), replica()

    async def sign(tree: Tree) -> None:
        for _ in range(20):
            await tree.grow()

    async def append() -> None:
        for _ in range(20):
            await fill(log_file, 17)
            await asyncio.sleep(0)

    await asyncio.gather(append(), sign(one), sign(other))
    for tree in (one, other):
        while await tree.grow():
            pass

    assert one.grown == other.grown
    assert one.grown.edge.root == roots(log_file, 340)
    assert one.complaint == other.complaint == ""


@pytest.mark.parametrize("size", [1, 2, 256, 300, 777])
async def test_proofs_lead_to_the_signed_root(log_file: Path, replica: Replica, keys: NoteKeys, size: int) -> None:
    tree, _ = replica()
    await signed_log(log_file, tree, size // 2)
    await signed_log(log_file, tree, size - size // 2)

    for index in {0, size // 3, size // 2, size - 1}:
        proved = await tree.inclusion(index)
        root = open_checkpoint(proved.checkpoint, keys.current().verifier).root
        verify_inclusion(index, proved.size, leaf_hash(proved.fingerprint), proved.proof, root)
    for old in {0, 1, size // 2, size}:
        proof = await tree.consistency(old, size)
        old_root = roots(log_file, old)
        verify_consistency(old, size, old_root, roots(log_file, size), proof)
        assert (await tree.frontier(old)).root == old_root


async def test_what_no_checkpoint_covers_is_not_proved(log_file: Path, replica: Replica) -> None:
    tree, _ = replica()
    await signed_log(log_file, tree, 5)
    await fill(log_file, 1)

    with pytest.raises(NotCovered):
        await tree.inclusion(5)
    with pytest.raises(NotCovered):
        await tree.consistency(1, 6)
    with pytest.raises(NotCovered):
        await tree.frontier(6)


async def test_the_covering_checkpoint_has_all_that_is_committed(log_file: Path, replica: Replica) -> None:
    tree, knowledge = replica()
    assert await tree.covering() is None

    places = await fill(log_file, 50)
    knowledge.committed(places[-1])
    covering = await tree.covering()

    assert covering is not None
    assert covering.size == 50


FORGERIES = {
    "a row altered": ("UPDATE entries SET body = replace(body, 'success', 'failure') WHERE \"index\" = 450", 450),
    "a row removed": ('DELETE FROM entries WHERE "index" = 450', 450),
    "a fingerprint altered": ('UPDATE entries SET fingerprint = zeroblob(32) WHERE "index" = 450', 450),
    "a fingerprint no hash": ("UPDATE entries SET fingerprint = 'x' WHERE \"index\" = 450", 450),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_does_not_chain_on_is_never_signed(log_file: Path, replica: Replica, name: str) -> None:
    tree, knowledge = replica()
    await signed_log(log_file, tree, 400)
    await fill(log_file, 100)
    sql, first_bad = FORGERIES[name]
    forge(log_file, sql)

    with pytest.raises(TreeBroken):
        await tree.grow()

    assert (knowledge.status, knowledge.first_bad) == (Status.INVALID, first_bad)
    assert stored(log_file, "SELECT max(size) FROM checkpoints") == [(400,)]
    assert tree.complaint


async def test_what_was_committed_here_must_be_met(log_file: Path, replica: Replica) -> None:
    tree, knowledge = replica()
    await signed_log(log_file, tree, 10)
    places = await fill(log_file, 10)
    knowledge.committed(places[-1])
    rechain(log_file, 15)

    with pytest.raises(TreeBroken):
        await tree.grow()

    assert stored(log_file, "SELECT max(size) FROM checkpoints") == [(10,)]


async def test_an_end_that_was_cut_off_while_nobody_was_there_is_found_at_the_start(
    log_file: Path, replica: Replica
) -> None:
    before, _ = replica()
    await signed_log(log_file, before, 400)
    forge(log_file, 'DELETE FROM entries WHERE "index" >= 390')
    after, knowledge = replica()

    with pytest.raises(TreeBroken):
        await after.grow()

    assert knowledge.first_bad == 390


@pytest.mark.parametrize("row", [0, 100, 300, 399])
async def test_a_log_rechained_with_correct_hashes_while_nobody_was_there_is_found_at_the_start(
    log_file: Path, replica: Replica, row: int
) -> None:
    before, _ = replica()
    await signed_log(log_file, before, 400)
    rechain(log_file, row)
    after, knowledge = replica()

    with pytest.raises(TreeBroken):
        await after.grow()

    # What the full tiles hold says which; of the last, not full one nobody keeps leaves.
    assert knowledge.first_bad == (row if row < 256 else 0)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE checkpoints SET note = replace(note, char(10) || '400' || char(10), char(10) || '399' || char(10))",
        "UPDATE checkpoints SET note = 'nothing'",
        "UPDATE tiles SET hashes = zeroblob(32) WHERE level = 1",
        "DELETE FROM tiles WHERE level = 1",
    ],
)
async def test_an_altered_tree_or_checkpoint_is_found_at_the_start(log_file: Path, replica: Replica, sql: str) -> None:
    before, _ = replica()
    await signed_log(log_file, before, 400)
    forge(log_file, sql)
    after, knowledge = replica()

    with pytest.raises(TreeBroken):
        await after.grow()

    assert knowledge.status is Status.INVALID


async def test_a_checkpoint_of_another_key_is_not_believed(log_file: Path, replica: Replica) -> None:
    before, _ = replica()
    await signed_log(log_file, before, 10)
    text = Checkpoint(ORIGIN, 10, roots(log_file, 10)).text
    forge(log_file, "UPDATE checkpoints SET note = ?", note_of(text, Signer.generate(ORIGIN).sign(text)))
    after, knowledge = replica()

    with pytest.raises(TreeBroken):
        await after.grow()

    assert knowledge.status is Status.INVALID


async def test_altered_tiles_prove_nothing(log_file: Path, replica: Replica) -> None:
    tree, knowledge = replica()
    await signed_log(log_file, tree, 700)
    forge(log_file, "UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0 AND number = 1")

    with pytest.raises(TreeBroken):
        await tree.inclusion(300)

    assert knowledge.first_bad == 300


async def test_cosignatures_are_shown_and_counted_once(log_file: Path, replica: Replica) -> None:
    tree, _ = replica()
    await signed_log(log_file, tree, 10)
    line = "— witness.example qqqqqqqq\n"

    await tree.add_cosignature(10, line)
    await tree.add_cosignature(10, line)

    newest = await tree.newest()
    assert newest is not None
    assert newest.note.endswith(line)
    assert newest.note.count(line) == 1


async def test_the_key_changes_with_the_entry_that_hands_over(log_file: Path, replica: Replica, keys: NoteKeys) -> None:
    (one, _), (other, _) = replica(), replica()
    await signed_log(log_file, one, 10)
    await other.grow()
    old = keys.current()
    new = keys.prepare_next().verifier

    handing_over = draft(action="audit.key_changed", details={"note": key_change(old, new)})
    await fill(log_file, [draft(), handing_over, draft()])
    await one.grow()
    await fill(log_file, 5)
    await other.grow()
    await other.grow()

    newest = await other.newest()
    assert newest is not None
    assert open_checkpoint(newest.note, new).size == 18
    assert keys.current().verifier == new
    assert keys.retired() == [old.verifier]
    assert await other.keys() == (new.text, [key_change(old, new)])
    again, knowledge = replica()
    await again.grow()
    assert (again.grown.edge.size, knowledge.first_bad) == (18, None)


async def test_a_change_that_the_key_did_not_sign_changes_nothing(
    log_file: Path, replica: Replica, keys: NoteKeys
) -> None:
    tree, _ = replica()
    stranger = Signer.generate(ORIGIN)
    notes = [key_change(stranger, stranger.verifier), "nonsense", 5]
    await fill(log_file, [draft(action="audit.key_changed", details={"note": note}) for note in notes])

    await tree.grow()

    newest = await tree.newest()
    assert newest is not None
    assert open_checkpoint(newest.note, keys.current().verifier).size == 3


async def test_a_key_that_is_lost_signs_nothing_and_that_is_said(
    log_file: Path, replica: Replica, keys: NoteKeys, tmp_path: Path
) -> None:
    tree, _ = replica()
    new = keys.prepare_next().verifier
    await fill(log_file, [draft(action="audit.key_changed", details={"note": key_change(keys.current(), new)})])
    (tmp_path / "audit" / "note.next").unlink()

    with pytest.raises(KeysUnusable, match="not in"):
        await tree.grow()

    assert stored(log_file, "SELECT count(*) FROM checkpoints") == [(0,)]
    assert new.text in tree.complaint


async def test_another_origin_is_refused(log_file: Path, replica: Replica) -> None:
    tree, _ = replica()
    reader = SqliteLogReader(log_file)
    require_origin(reader, "any.example/log")
    await signed_log(log_file, tree, 1)

    require_origin(reader, ORIGIN)
    with pytest.raises(OtherOrigin, match="never changes"):
        require_origin(reader, "any.example/log")


async def test_checkpoints_come_by_themselves_and_again_after_a_failure(log_file: Path, replica: Replica) -> None:
    tree, knowledge = replica()
    told: list[int] = []
    tree.told = lambda: told.append(tree.grown.edge.size)
    away = log_file.with_suffix(".away")
    log_file.rename(away)
    async with Checkpointer(tree, knowledge).running():
        await until(lambda: bool(tree.complaint))
        away.rename(log_file)
        await fill(log_file, 3)
        await until(lambda: 3 in told)

    assert tree.complaint == ""


def rechain(log_file: Path, first: int) -> None:
    """Alters an entry and makes all hashes after it right again."""
    connection = sqlite3.connect(log_file)
    rows = connection.execute('SELECT "index", fingerprint, body FROM entries ORDER BY "index"').fetchall()
    previous = Head(*rows[first - 1][:2]) if first else EMPTY
    with connection:
        for index, _, stored_body in rows[first:]:
            body = stored_body.replace(b'"success"', b'"failure"') if index == first else stored_body
            previous = Head(index, fingerprint(index, previous.fingerprint, body))
            values = (previous.fingerprint, body, index)
            connection.execute('UPDATE entries SET fingerprint = ?, body = ? WHERE "index" = ?', values)
    connection.close()
