from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from shared.tlog.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofRefused,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.unit.shared.tlog.trees import leaves, node_in

# Published with Certificate Transparency's merkletree tests.
PUBLIC_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
PUBLIC_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PUBLIC_INCLUSIONS = [
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
]
PUBLIC_CONSISTENCIES = [
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
MOST = 130
LEAVES = leaves(MOST)
ROOTS = [root_of(LEAVES[:size]) for size in range(MOST + 1)]
NODE = node_in(LEAVES)
OTHER = leaves(1, "other")[0]


def public_leaves(count: int) -> list[bytes]:
    return [leaf_hash(bytes.fromhex(data)) for data in PUBLIC_LEAVES[:count]]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_that_were_published(size: int) -> None:
    assert root_of(public_leaves(size)).hex() == PUBLIC_ROOTS[size]


@pytest.mark.parametrize(("index", "size", "proof"), PUBLIC_INCLUSIONS)
def test_the_inclusion_proofs_are_those_that_were_published(index: int, size: int, proof: list[str]) -> None:
    made = inclusion_proof(index, size, node_in(public_leaves(size)))

    assert [hash.hex() for hash in made] == proof


@pytest.mark.parametrize(("old", "new", "proof"), PUBLIC_CONSISTENCIES)
def test_the_consistency_proofs_are_those_that_were_published(old: int, new: int, proof: list[str]) -> None:
    made = consistency_proof(old, new, node_in(public_leaves(new)))

    assert [hash.hex() for hash in made] == proof


def test_every_leaf_is_proved_to_be_in_every_tree_that_has_it() -> None:
    for size in range(1, MOST + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, NODE)

            verify_inclusion(index, size, LEAVES[index], proof, ROOTS[size])


def test_every_tree_is_proved_to_extend_every_smaller_one() -> None:
    for new in range(MOST + 1):
        for old in range(new + 1):
            proof = consistency_proof(old, new, NODE)

            verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


@settings(deadline=None)
@given(st.data())
def test_no_other_inclusion_is_proved(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, NODE)

    for other in _altered(proof, data.draw(st.integers(0, 255))):
        with pytest.raises(ProofRefused):
            verify_inclusion(index, size, LEAVES[index], other, ROOTS[size])
    for other_index in {index - 1, index + 1, size, -1, index + 2**64} - {index}:
        with pytest.raises(ProofRefused):
            verify_inclusion(other_index, size, LEAVES[index], proof, ROOTS[size])
    for leaf, root in [(OTHER, ROOTS[size]), (LEAVES[index], OTHER), (ROOTS[size], OTHER), (b"", ROOTS[size])]:
        with pytest.raises(ProofRefused):
            verify_inclusion(index, size, leaf, proof, root)


@settings(deadline=None)
@given(st.data())
def test_no_other_extension_is_proved(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, new - 1))
    proof = consistency_proof(old, new, NODE)

    for other in _altered(proof, data.draw(st.integers(0, 255))):
        with pytest.raises(ProofRefused):
            verify_consistency(old, new, ROOTS[old], ROOTS[new], other)
    roots = [(ROOTS[new], ROOTS[old]), (OTHER, ROOTS[new]), (ROOTS[old], OTHER), (ROOTS[old], ROOTS[old]), (b"", b"")]
    for old_root, new_root in roots:
        with pytest.raises(ProofRefused):
            verify_consistency(old, new, old_root, new_root, proof)
    for other_old, other_new in [(new, old), (-old, new), (old, -new), (0, new), (new, new)]:
        with pytest.raises(ProofRefused):
            verify_consistency(other_old, other_new, ROOTS[old], ROOTS[new], proof)


@settings(deadline=None)
@given(st.data())
def test_a_tree_that_was_written_anew_is_no_extension(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, MOST))
    old = data.draw(st.integers(1, new))
    place = data.draw(st.integers(0, old - 1))
    forged = [*LEAVES[:place], OTHER, *LEAVES[place + 1 : new]]

    with pytest.raises(ProofRefused):
        verify_consistency(old, new, ROOTS[old], root_of(forged), consistency_proof(old, new, node_in(forged)))


@settings(deadline=None)
@given(st.data())
def test_a_consistency_proof_says_nothing_of_other_sizes_with_other_roots(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, MOST - 1))
    old = data.draw(st.integers(1, new - 1))
    proof = consistency_proof(old, new, NODE)

    for other_old, other_new in [(old - 1, new), (old + 1, new), (old, new - 1), (old, new + 1)]:
        if proof == consistency_proof(other_old, max(other_old, other_new), NODE):
            continue
        with pytest.raises(ProofRefused):
            verify_consistency(other_old, other_new, ROOTS[other_old], ROOTS[other_new], proof)


@settings(deadline=None)
@given(st.integers(0, 2**64), st.integers(0, 2**64), st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_made_up_proofs_are_refused(one: int, another: int, proof: list[bytes]) -> None:
    with pytest.raises(ProofRefused):
        verify_inclusion(one, another, LEAVES[0], proof, ROOTS[2])
    with pytest.raises(ProofRefused):
        verify_consistency(one, another, ROOTS[1], ROOTS[2], proof)


def test_only_the_empty_tree_has_no_leaves() -> None:
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])

    for old, new, old_root, new_root in [(0, 5, OTHER, ROOTS[5]), (0, 0, EMPTY_ROOT, OTHER), (0, 0, OTHER, EMPTY_ROOT)]:
        with pytest.raises(ProofRefused):
            verify_consistency(old, new, old_root, new_root, [])


@settings(deadline=None)
@given(st.integers(0, MOST), st.data())
def test_a_frontier_grows_as_its_tree(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size))

    frontier = Frontier().appended(LEAVES[:first]).appended(LEAVES[first:size])

    assert (frontier.size, frontier.root) == (size, ROOTS[size])
    assert frontier == Frontier(size, frontier.hashes)


@pytest.mark.parametrize(("size", "hashes"), [(-1, ()), (0, (OTHER,)), (1, ()), (3, (OTHER,)), (1, (OTHER[1:],))])
def test_a_frontier_has_one_hash_for_each_bit_of_its_size(size: int, hashes: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"one complete subtree|32 bytes"):
        Frontier(size, hashes)


def test_nothing_is_proved_of_what_is_not_in_the_tree() -> None:
    for index, size in [(0, 0), (-1, 5), (5, 5)]:
        with pytest.raises(ValueError, match="only a leaf"):
            inclusion_proof(index, size, NODE)
    for old, new in [(-1, 5), (6, 5)]:
        with pytest.raises(ValueError, match="smaller one"):
            consistency_proof(old, new, NODE)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=100, unique=True), st.data())
def test_another_implementation_has_the_same_trees_and_proofs(entries: list[bytes], data: st.DataObject) -> None:
    new = data.draw(st.integers(1, len(entries)))
    old = data.draw(st.integers(1, new))
    index = data.draw(st.integers(0, new - 1))
    oracle = InmemoryTree.init_from_entries(entries, algorithm="sha256")
    hashes = [leaf_hash(entry) for entry in entries]

    roots = [root_of(hashes[:size]) for size in (len(entries), new, old)]
    included = oracle.prove_inclusion(index + 1, new).path
    extended = oracle.prove_consistency(old, new)

    assert roots == [oracle.get_root(size) for size in (len(entries), new, old)]
    assert {*included} == {hashes[index], *inclusion_proof(index, new, node_in(hashes))}  # its proofs hold the leaf
    extended.verify(roots[2], roots[1], prior_size=old, later_size=new)  # and these are of its own kind
    verify_consistency(
        old, new, oracle.get_root(old), oracle.get_root(new), consistency_proof(old, new, node_in(hashes))
    )


def test_a_leaf_is_never_taken_for_a_node() -> None:
    left, right = LEAVES[:2]

    assert leaf_hash(left + right) != node_hash(left, right)


def _altered(proof: Sequence[bytes], bit: int) -> Iterator[list[bytes]]:
    """All that is nearly this proof."""
    yield [*proof, OTHER]
    yield [OTHER, *proof]
    yield [*proof, b""]
    yield [*proof, EMPTY_ROOT]
    for place, hash in enumerate(proof):
        flipped = (int.from_bytes(hash, "big") ^ 1 << bit).to_bytes(32, "big")
        yield [*proof[:place], flipped, *proof[place + 1 :]]
        yield [*proof[:place], hash[:-1], *proof[place + 1 :]]
        yield [*proof[:place], *proof[place + 1 :]]
        yield [*proof[:place], hash, *proof[place:]]
        if place:
            yield [*proof[: place - 1], hash, proof[place - 1], *proof[place + 1 :]]
