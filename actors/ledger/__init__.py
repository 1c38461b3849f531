"""What the ledger does, operation by operation, inside the one transaction of a batch.

An operation is a function of (books, batch): it reads what is in memory and in the store, decides
by the rules of `actors.core`, changes the books and adds rows to the batch. It raises an error of
`actors.core.errors` before it has changed anything, or it takes effect. All of it runs in the one
thread that writes; nothing here waits, and nothing knows asyncio or Ray.
"""
