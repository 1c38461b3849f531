"""Bodies that came compressed: decoded as far as a body may be long, and not a byte further.

gzip, deflate (with zlib's head, or raw, as some clients have it) and zstd; several in a row where the
header lists them. What a few bytes unfold to is bounded while it is unfolded: at most the bound and one
byte more is ever in memory.
"""

from __future__ import annotations

import zlib

import zstandard

from actors.core.errors import InvalidRequest, RequestTooLarge
from serve_app.http.errors import UnsupportedCoding

__all__ = ["codings_of", "decoded"]

_CODINGS_MAX = 2

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS

_WINDOW_BYTES_MAX = 8 * 1024 * 1024
"""What RFC 8878 has every decoder take; more is memory that the sender chooses."""

_PIECE_BYTES = 256 * 1024

_ALIASES = {"x-gzip": "gzip"}
_KNOWN = ("gzip", "deflate", "zstd")


def codings_of(header: str) -> tuple[str, ...]:
    """Return the codings in the order in which they were applied.

    Raises: UnsupportedCoding.
    """
    names = [name.strip().lower() for name in header.split(",")]
    codings = tuple(_ALIASES.get(name, name) for name in names if name not in ("", "identity"))
    if len(codings) > _CODINGS_MAX or any(coding not in _KNOWN for coding in codings):
        raise UnsupportedCoding(known=_KNOWN)
    return codings


def decoded(body: bytes, codings: tuple[str, ...], *, bytes_max: int) -> bytes:
    """Return what was encoded.

    Raises: InvalidRequest: it is none of that coding. RequestTooLarge: it is longer than the bound.
    """
    for coding in reversed(codings):
        try:
            body = _zstd(body, bytes_max) if coding == "zstd" else _zlib(body, coding, bytes_max)
        except (zlib.error, zstandard.ZstdError, EOFError):
            raise InvalidRequest(f"The request body is not valid {coding}.") from None
        if len(body) > bytes_max:
            raise RequestTooLarge(bytes_max=bytes_max)
    return body


def _zlib(body: bytes, coding: str, bytes_max: int) -> bytes:
    """Decode one or, as gzip may have them, several members."""
    whole = bytearray()
    while body:
        bits = _GZIP if coding == "gzip" else _ZLIB if _has_zlib_head(body) else _RAW
        decoder = zlib.decompressobj(bits)
        whole += decoder.decompress(body, bytes_max + 1 - len(whole))
        if len(whole) > bytes_max:
            break
        if not decoder.eof:
            raise EOFError
        body = decoder.unused_data
        if body and coding != "gzip":
            raise EOFError
    return bytes(whole)


def _has_zlib_head(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _zstd(body: bytes, bytes_max: int) -> bytes:
    decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
    whole = bytearray()
    with decoder.stream_reader(body, read_across_frames=True) as reader:
        while len(whole) <= bytes_max:
            piece = reader.read(min(_PIECE_BYTES, bytes_max + 1 - len(whole)))
            if not piece:
                break
            whole += piece
    if not whole and body:
        # The reader says nothing of a frame that was cut before its first byte.
        raise EOFError
    return bytes(whole)
