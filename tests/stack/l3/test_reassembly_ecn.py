"""Congestion marks on fragments (RFC 3168 §5.3): what the datagram that they make says."""

from __future__ import annotations

import itertools

import pytest

from tests.stack.l3.test_reassembly import DATA, Bench, cut
from tests.stack.packets import internet_checksum
from usernat.stack.l3.ipv4_header import CE, IPV4, NOT_ECT


def whole(*codepoints: int, dscp: int = 0xB8) -> int | None:
    """The codepoint of what these fragments make, from the lowest to the last; None where they make nothing."""
    bench = Bench()
    size = 8 * len(codepoints)
    fragments = zip(cut(DATA[:size], 8), codepoints, strict=True)
    *_, packet = [bench.add(fragment, tos=dscp | codepoint) for fragment, codepoint in fragments]
    if packet is None:
        assert bench.count("mixed_ecn") == 1
        assert (bench.count("completed"), bench.reassembly.bytes) == (0, 0)
        return None
    header = IPV4.read(packet.datagram)
    assert header is not None
    assert header.tos == packet.tos
    assert internet_checksum(bytes(packet.datagram[:20])) == 0
    assert bytes(packet.payload) == DATA[:size]
    assert packet.tos & ~CE == dscp
    return packet.tos & CE


@pytest.mark.rfc("3168", "5.3-a", "5.3-b", "5.3-c")
@pytest.mark.parametrize("codepoints", list(itertools.product(range(4), repeat=3)))
def test_congestion_that_a_fragment_has_met_is_not_lost(codepoints: tuple[int, ...]) -> None:
    """All mixtures of three: CE is the whole's, but beside Not-ECT nothing is. Without CE the first fragment's counts."""
    if CE not in codepoints:
        assert whole(*codepoints) == codepoints[0]
    else:
        assert whole(*codepoints) == (None if NOT_ECT in codepoints else CE)


@pytest.mark.rfc("3168", "5.3-a")
def test_mark_on_a_copy_is_not_lost() -> None:
    bench = Bench()
    first, last = cut(DATA[:16], 8)
    for tos in (1, CE):
        assert bench.add(first, tos=tos) is None
    assert bench.count("duplicates") == 1
    packet = bench.add(last, tos=1)
    assert packet is not None
    assert packet.tos == CE


@pytest.mark.rfc("3168", "5.3-a", "5.3-b")
def test_what_mixes_marks_leaves_a_tombstone() -> None:
    bench = Bench()
    first, middle, last = cut(DATA[:24], 8)
    for fragment, tos in ((last, 0), (first, CE), (middle, CE), (last, CE)):
        assert bench.add(fragment, tos=tos) is None
    assert (bench.count("mixed_ecn"), bench.count("after_drop")) == (1, 2)
