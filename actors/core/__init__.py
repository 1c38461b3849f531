"""What cannot wait: no I/O, no clock, no Ray. Time and ids are arguments.

Knows nothing of ours, and of others the standard library, and msgspec where a wire is read or written.
"""
