"""The CompletionActor's room: a driver per completion, what carries them, the channel to their readers.

`actor` alone knows Ray.
"""
