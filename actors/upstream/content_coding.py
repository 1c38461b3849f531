"""Bodies that a provider compressed although it was asked not to: their bytes, as they come.

Owns what `Content-Encoding` means. It must not know what the bytes are.

Rules: what was flushed comes out at once, so a compressed stream still streams; one call gives at most
`_STEP_BYTES`, however much a few bytes stand for; a body that only says that it is compressed is read as
it is, and one that begins as gzip does is read so, whatever it says.

Source: RFC 9110, section 8.4.1, and RFC 1952, section 2.3.1 (the magic number), read 2026-11-25.
"""

from __future__ import annotations

import zlib

__all__ = ["ContentDecoder", "CorruptBody", "UnknownCoding"]

_STEP_BYTES = 1024 * 1024

_GZIP_MAGIC = b"\x1f\x8b"
_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


class UnknownCoding(ValueError):
    """A coding that cannot be read here."""


class CorruptBody(ValueError):
    """The bytes are not what their coding says."""


class ContentDecoder:
    """Decodes one body.

    Args: header: `Content-Encoding`, None where there is none.
    Raises: UnknownCoding: it names a coding that cannot be read.
    """

    def __init__(self, header: str | None) -> None:
        names = [name.strip().lower() for name in (header or "").split(",")]
        names = [name for name in names if name not in ("", "identity", "none")]
        if len(names) > 1 or (names and names[0] not in _CODINGS):
            raise UnknownCoding(", ".join(names)[:64])
        self._coding = _CODINGS[names[0]] if names else None
        self._head: bytes | None = b""  # The first bytes, until they tell what the body is.
        self._inflater: zlib._Decompress | None = None
        self._rest = b""  # What is still to be inflated.

    @property
    def has_more(self) -> bool:
        """Whether `decode` has something to say without new bytes."""
        return bool(self._rest)

    @property
    def is_plain(self) -> bool:
        """Whether the body has begun, and is not compressed."""
        return self._head is None and self._inflater is None

    def decode(self, data: bytes) -> bytes:
        """Return the next bytes of the body; empty where these are not enough for any.

        Raises: CorruptBody: they cannot be read.
        """
        if self._head is not None:
            data = self._begun(self._head + data)
        if self._inflater is None:
            return data
        try:
            return self._inflate(self._rest + data)
        except zlib.error as error:
            raise CorruptBody("the body is not of its coding") from error

    def end(self) -> bytes:
        """Return what was held back of a body that ended; one that was cut says no more of it."""
        head, self._head = self._head or b"", None
        return head

    def _begun(self, head: bytes) -> bytes:
        if len(head) < len(_GZIP_MAGIC) and (self._coding or _GZIP_MAGIC.startswith(head)):
            self._head = head
            return b""
        self._head = None
        if head.startswith(_GZIP_MAGIC):
            self._inflater = zlib.decompressobj(wbits=31)
        elif self._coding == "deflate" and not head[:1].isspace() and head[:1] not in b"{d:e":
            # RFC 9110's deflate has zlib's two bytes in front; some servers leave them out.
            has_head = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
            self._inflater = zlib.decompressobj(wbits=15 if has_head else -15)
        return head

    def _inflate(self, data: bytes) -> bytes:
        assert self._inflater is not None
        out = self._inflater.decompress(data, _STEP_BYTES)
        self._rest = self._inflater.unconsumed_tail
        if self._inflater.eof and self._inflater.unused_data.startswith(_GZIP_MAGIC):
            # A body of several parts, one after another.
            self._rest = self._inflater.unused_data
            self._inflater = zlib.decompressobj(wbits=31)
        return out
