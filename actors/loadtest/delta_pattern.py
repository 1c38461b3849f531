"""The frame that nearly every frame of a stream is but for its text: learned once, then recognized.

A tester that decodes JSON for each token takes the processor from what it measures. A frame that has
the same beginning and the same end as one that was decoded, and between them text without a quote or
a backslash, is that frame with this text; every other one is decoded.
"""

from __future__ import annotations

__all__ = ["DeltaPattern"]


class DeltaPattern:
    """One stream's.

    Args: member: whose value the text is, as the frame has it: `"content":`.
    """

    def __init__(self, member: str) -> None:
        self._opening = f'{member}"'
        self._name = ""
        self._head = ""
        self._tail = ""

    def match(self, name: str, data: str) -> str | None:
        """Return the text of an event that is like the one that was learned, None if it is not."""
        head, tail = self._head, self._tail
        if name != self._name or not data.startswith(head) or not data.endswith(tail):
            return None
        text = data[len(head) : len(data) - len(tail)]
        is_plain = len(head) + len(tail) <= len(data) and '"' not in text and "\\" not in text
        return text if is_plain else None

    def learn(self, name: str, data: str, text: str) -> None:
        """Take a decoded event and the text that it had, if it tells where a text goes."""
        whole = f'{self._opening}{text}"'
        head, found, tail = data.partition(whole)
        if found and text and whole not in tail:
            self._name = name
            self._head, self._tail = head + self._opening, '"' + tail
