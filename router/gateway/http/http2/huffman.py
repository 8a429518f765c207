"""HPACK's Huffman code, decoded (RFC 7541, 5.2 and appendix B). Pure.

The code is canonical, so its lengths are all there is to know of it: codes of one length are consecutive numbers in the
order of their symbols. Decoding walks the tree a byte at a time; what one byte does to one node is worked out when it
is first needed, and remembered.
"""

from __future__ import annotations

from functools import cache
from typing import Final

#: Bits of the code of each byte, and of the end mark.
_LENGTHS: Final = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6,
    12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5,
    6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22,
    22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21,
    20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22,
    23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27,
    28, 27, 27, 27, 27, 27, 26, 30,
)  # fmt: skip
_END: Final = 256
_ROOT: Final = 0
#: "Padding ... longer than 7 bits MUST be treated as a decoding error."
_MAX_PADDING_BITS: Final = 7


def decode_huffman(coded: bytes) -> bytes:
    """Decode a string.

    Raises:
        ValueError: it holds the end mark, or does not end in a padding of ones.
    """
    node, parts = _ROOT, []
    for byte in coded:
        node, decoded = _step(node, byte)
        parts.append(decoded)
    if node not in _PADDED:
        raise ValueError("a Huffman code is cut off")
    return b"".join(parts)


def _build_tree() -> list[list[int]]:
    """Return each node's two children: another node, or the symbol s as -1 - s."""
    tree = [[0, 0]]
    code = length = 0
    for bits, symbol in sorted((bits, symbol) for symbol, bits in enumerate(_LENGTHS)):
        code <<= bits - length
        length, node = bits, _ROOT
        for position in range(bits - 1, 0, -1):
            branch = tree[node]
            side = code >> position & 1
            if not branch[side]:
                branch[side] = len(tree)
                tree.append([0, 0])
            node = branch[side]
        tree[node][code & 1] = -1 - symbol
        code += 1
    return tree


_TREE: Final = _build_tree()


def _padded_nodes() -> frozenset[int]:
    """Find the nodes at which a string may end: at a symbol's end, or some ones further."""
    nodes = [_ROOT]
    for _ in range(_MAX_PADDING_BITS):
        nodes.append(_TREE[nodes[-1]][1])
    return frozenset(nodes)


_PADDED: Final = _padded_nodes()


@cache
def _step(node: int, byte: int) -> tuple[int, bytes]:
    """Go on from a node by eight bits: the node reached, and the symbols passed."""
    passed = bytearray()
    for position in range(7, -1, -1):
        node = _TREE[node][byte >> position & 1]
        if node < 0:
            symbol = -1 - node
            if symbol == _END:
                raise ValueError("a Huffman code holds the end mark")
            passed.append(symbol)
            node = _ROOT
    return node, bytes(passed)
