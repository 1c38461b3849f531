"""`midstream down`: stop the instance of a data directory, and end what a killed one left."""

from __future__ import annotations

import signal
import time

from serve_app.instance.data_directory import (
    HAPROXY_FOLDER,
    DataDirectory,
    InstanceError,
    InstanceNote,
)
from serve_app.instance.instance import STOP_MARGIN_S

__all__ = ["stop_instance"]

_END_MARGIN_S = 3.0
"""What the instance may take to end itself at once, when it has not stopped in order in time."""

_KILLED_S = 15.0
_POLL_S = 0.1


def stop_instance(directory: DataDirectory) -> str:
    """Stop it in order, and kill it where it has not stopped itself in time.

    What runs may end before; called again meanwhile, what still runs is cancelled.

    Returns: what there is to say.
    Raises: InstanceError: a process would not end, or belongs to somebody else.
    """
    note = directory.read_note()
    if note is None:
        if directory.is_locked():
            raise InstanceError(
                f"The instance of {directory.path} is only just starting: try again."
            )
        return f"No instance runs in {directory.path}."
    was_running = note.process.is_alive()
    for number, patience_s in (
        (signal.SIGTERM, note.drain_timeout_s + STOP_MARGIN_S + _END_MARGIN_S),
        (signal.SIGKILL, _KILLED_S),
    ):
        if not note.process.send(number) or _wait_for_end(note, patience_s):
            break
    note = directory.read_note() or note  # It may have noted more processes meanwhile.
    if not note.end_leftovers():
        pids = ", ".join(str(process.pid) for process in note.leftovers())
        raise InstanceError(f"Some processes of {directory.path} would not end: {pids}.")
    if note.address and directory.read_note() is not None:
        # It was killed, and what it had put on the cluster is there still.
        from serve_app.instance.stack import remove_from

        remove_from(note.address, drain_timeout_s=note.drain_timeout_s)
    directory.clear_runtime(keep=HAPROXY_FOLDER if note.address else "")
    directory.remove_note()
    if was_running:
        return f"Stopped {note.url}."
    return f"No instance runs in {directory.path}; cleaned up after one that was killed."


def _wait_for_end(note: InstanceNote, patience_s: float) -> bool:
    deadline_s = time.monotonic() + patience_s
    while note.process.is_alive():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True
