import os
from pathlib import Path

import pytest

from shared.tlog.merkle import EMPTY_ROOT
from shared.tlog.notes import CosignatureVerifier, Cosigner
from tests.unit.witness.logs import ORIGIN, Log
from witness.application import DirectoryUnusable, MemoryNotWritten
from witness.domain import Memory, extended
from witness.infrastructure import WitnessDirectory

NAME = "peanut.local/witness"


@pytest.fixture
def directory(tmp_path: Path) -> WitnessDirectory:
    directory = WitnessDirectory(tmp_path / "witness")
    directory.prepare(NAME)
    return directory


def memory_of(directory: WitnessDirectory, size: int = 7) -> Memory:
    log = Log()
    addition = log.addition(0, size)
    return extended(None, addition, log=log.signer.verifier, witness=directory.signer(), now=1)


def test_preparing_makes_a_private_directory_and_a_key_once(directory: WitnessDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "witness"
    before = {path.name: path.read_text() for path in folder.iterdir()}

    directory.prepare(NAME)

    assert before == {path.name: path.read_text() for path in folder.iterdir()}
    assert sorted(before) == ["memory", "witness.key", "witness.pub"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    public = CosignatureVerifier.parse(before["witness.pub"].rstrip("\n"))
    assert public == Cosigner.parse(before["witness.key"].rstrip("\n")).verifier
    assert public.name == NAME


async def test_what_was_saved_is_remembered(directory: WitnessDirectory, tmp_path: Path) -> None:
    assert directory.load(ORIGIN) is None
    for size in (1, 7):
        memory = memory_of(directory, size)

        await directory.save(memory)

        assert WitnessDirectory(tmp_path / "witness").load(ORIGIN) == memory
    assert sorted(os.listdir(tmp_path / "witness")) == ["memory", "witness.key", "witness.pub"]


async def test_a_memory_with_any_byte_altered_or_lost_is_refused(directory: WitnessDirectory, tmp_path: Path) -> None:
    await directory.save(memory_of(directory))
    file = tmp_path / "witness/memory"
    whole = file.read_bytes()

    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[at + 1 :]):
            file.write_bytes(damaged)
            with pytest.raises(DirectoryUnusable, match=r"memory (is damaged|cannot be read)"):
                directory.load(ORIGIN)


def test_a_witness_that_has_lost_its_memory_does_not_start_as_a_new_one(
    directory: WitnessDirectory, tmp_path: Path
) -> None:
    (tmp_path / "witness/memory").unlink()
    directory.prepare(NAME)

    with pytest.raises(DirectoryUnusable, match="No such file"):
        directory.load(ORIGIN)


async def test_a_witness_that_has_lost_its_key_does_not_start_with_another(
    directory: WitnessDirectory, tmp_path: Path
) -> None:
    await directory.save(memory_of(directory))
    (tmp_path / "witness/witness.key").unlink()
    directory.prepare(NAME)

    with pytest.raises(DirectoryUnusable, match="damaged"):
        directory.load(ORIGIN)


def test_a_preparation_that_was_broken_off_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("nothing seen yet\n")

    directory = WitnessDirectory(tmp_path)
    directory.prepare(NAME)

    assert (directory.signer().name, directory.load(ORIGIN)) == (NAME, None)


@pytest.mark.parametrize("content", [b"", b"\xff", b"PRIVATE+KEY+a+00000000+AAAA\n"])
def test_a_damaged_key_is_refused(directory: WitnessDirectory, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "witness/witness.key").write_bytes(content)

    with pytest.raises(DirectoryUnusable, match=r"witness\.key"):
        directory.signer()


async def test_a_directory_is_for_one_log(directory: WitnessDirectory) -> None:
    await directory.save(memory_of(directory))

    with pytest.raises(DirectoryUnusable, match="WITNESS_DIR"):
        directory.load("peanut.local/restored")


def test_a_directory_is_for_one_process(directory: WitnessDirectory, tmp_path: Path) -> None:
    other = WitnessDirectory(tmp_path / "witness")
    with directory.held(), pytest.raises(DirectoryUnusable, match="another witness"), other.held():
        pass
    with other.held():
        pass


def test_a_directory_that_is_not_there_is_not_worked_in(tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusable, match="cannot be opened"), WitnessDirectory(tmp_path / "none").held():
        pass


async def test_what_cannot_be_written_leaves_the_memory_as_it_was(directory: WitnessDirectory, tmp_path: Path) -> None:
    await directory.save(memory_of(directory))
    before = directory.load(ORIGIN)
    file, aside = tmp_path / "witness/memory", tmp_path / "aside"
    file.rename(aside)
    file.mkdir()  # a rename onto it fails, for root as well

    with pytest.raises(MemoryNotWritten, match="cannot write its memory"):
        await directory.save(memory_of(directory, 9))

    file.rmdir()
    aside.rename(file)
    assert directory.load(ORIGIN) == before
    assert sorted(os.listdir(tmp_path / "witness")) == ["memory", "witness.key", "witness.pub"]


async def test_the_empty_log_can_be_remembered(directory: WitnessDirectory) -> None:
    memory = memory_of(directory, 0)

    await directory.save(memory)

    assert memory.checkpoint.root == EMPTY_ROOT
    assert directory.load(ORIGIN) == memory
