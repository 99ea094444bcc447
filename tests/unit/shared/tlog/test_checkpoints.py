import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.tlog.checkpoints import MAX_SIZE, Checkpoint, open_checkpoint, parse_checkpoint
from shared.tlog.merkle import EMPTY_ROOT
from shared.tlog.notes import NoteRefused, Signer, note_of

ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
TEXT = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"
log = Signer.generate("example.com/behind-the-sofa")


def test_a_checkpoint_is_what_the_specification_shows() -> None:
    checkpoint = parse_checkpoint(TEXT)

    assert checkpoint == Checkpoint("example.com/behind-the-sofa", 20_852_163, base64.b64decode(ROOT))
    assert checkpoint.text == TEXT


@settings(deadline=None)
@given(st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_is_read_as_it_was_written(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("peanut.local/audit", size, root)

    assert parse_checkpoint(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        TEXT[:-1],
        f"{TEXT}\n",
        f"{TEXT}extension\n",
        TEXT.replace("\n", "\r\n"),
        f"\n20852163\n{ROOT}\n",
        f"a b\n20852163\n{ROOT}\n",
        f"a+b\n20852163\n{ROOT}\n",
        f"a\n\n{ROOT}\n",
        f"a\n020852163\n{ROOT}\n",
        f"a\n+20852163\n{ROOT}\n",
        f"a\n-1\n{ROOT}\n",
        f"a\n 1\n{ROOT}\n",
        f"a\n1_0\n{ROOT}\n",
        f"a\n1.0\n{ROOT}\n",
        f"a\n0x10\n{ROOT}\n",
        f"a\n\u0661\n{ROOT}\n",
        f"a\n\u00b2\n{ROOT}\n",
        f"a\n00\n{ROOT}\n",
        f"a\n0\n{ROOT}\n",
        f"a\n{MAX_SIZE + 1}\n{ROOT}\n",
        f"a\n{'9' * 10_000}\n{ROOT}\n",
        f"a\n1\n{ROOT[:-1]}\n",
        f"a\n1\n{ROOT.replace('2I=', '2J=')}\n",
        f"a\n1\n{ROOT.replace('/', '_')}\n",
        f"a\n1\n {ROOT}\n",
        "a\n1\nAAAA\n",
        "a\n1\n\n",
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        parse_checkpoint(text)


@pytest.mark.parametrize(("size", "root"), [(-1, bytes(32)), (MAX_SIZE + 1, bytes(32)), (1, bytes(31)), (0, bytes(32))])
def test_an_impossible_tree_has_no_checkpoint(size: int, root: bytes) -> None:
    with pytest.raises(ValueError, match="tree"):
        Checkpoint("a", size, root)


def test_the_empty_tree_has_a_checkpoint() -> None:
    checkpoint = Checkpoint("a", 0, EMPTY_ROOT)

    assert parse_checkpoint(checkpoint.text) == checkpoint


def test_a_log_opens_its_own_checkpoints_only() -> None:
    stranger = Signer.generate("example.com/elsewhere")
    namesake = Signer.generate(log.name)

    assert open_checkpoint(note_of(TEXT, stranger.sign(TEXT), log.sign(TEXT)), log.verifier).text == TEXT
    with pytest.raises(NoteRefused, match="another log"):
        open_checkpoint(note_of(TEXT, stranger.sign(TEXT)), stranger.verifier)
    with pytest.raises(NoteRefused, match="nobody known"):
        open_checkpoint(note_of(TEXT, namesake.sign(TEXT)), log.verifier)
