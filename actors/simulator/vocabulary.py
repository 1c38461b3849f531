"""The words of simulated answers, and how they follow from what was asked.

Each word carries its leading space and is exactly one token of our tokenizer, alone and in any
sequence, so that the concatenation of N words is N tokens in N frames. A test counts all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

__all__ = ["MULTI_BYTE_WORDS", "WORDS", "body_digest", "draw", "seed_of"]

_ENGLISH = """
the of and to in is that it for was on are with as be at one have this from or had by word but
what some we can out other were all there when up use your how said an each she which do their
time if will way about many then them write would like so these her long make thing see him two
has look more day could go come did number sound no most people my over know water than call
first who may down side been now find any new work part take get place made live where after
back little only round man year came show every good me give our under name very through just
form sentence great think say help low line differ turn cause much mean before move right boy
old too same tell does set three want air well also play small end put home read hand port large
spell add even land here must big high such follow act why ask men change went light kind off
need house picture try us again animal point mother world near build self earth father head
stand own page should country found answer school grow study still learn plant cover food sun
four between state keep eye never last let thought city tree cross farm hard start might story
saw far sea draw left late run while press close night real life few north open seem together
next white children begin got walk example ease paper group always
"""

_MULTI_BYTE = (
    "世界 привет café мир 中国 日本 için здесь также über años música жизнь время français 😊"
)

WORDS = tuple(f" {word}" for word in _ENGLISH.split())
MULTI_BYTE_WORDS = tuple(f" {word}" for word in _MULTI_BYTE.split())

# Knuth's MMIX generator: one multiplication per word, the high bits are the good ones.
_MULTIPLIER = 6364136223846793005
_INCREMENT = 1442695040888963407
_MASK = (1 << 64) - 1


def seed_of(model: str, messages: Any, seed: int | None) -> int:
    """Return what the answer follows from: 64 bits of the model, the messages and the seed."""
    asked = json.dumps([model, messages, seed], separators=(",", ":"), sort_keys=True)
    return int.from_bytes(hashlib.blake2b(asked.encode(), digest_size=8).digest(), "big")


def body_digest(body: bytes) -> str:
    """Return 128 bits that name a request's body, in hex."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def draw(seed: int, count: int, words_total: int) -> Iterator[int]:
    """Yield `count` indexes below `words_total`; the same seed yields the same ones."""
    state = seed
    for _ in range(count):
        state = (state * _MULTIPLIER + _INCREMENT) & _MASK
        yield (state >> 32) % words_total
