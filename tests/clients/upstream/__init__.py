"""A provider for tests: one scripted model behind the three wire formats.

Owns a server on a real socket that behaves as a model with tools does and is as strict as the providers
are: it calls a tool that fits and has no result yet, answers from results, fills schemas, thinks where
asked, counts slowly so that a client can cancel, and refuses what a provider refuses. It keeps what it
was sent and by whom each exchange was ended. It knows nothing of Midstream.
"""

from tests.clients.upstream.log import Exchange
from tests.clients.upstream.server import ScriptedUpstream, running_upstream

__all__ = ["Exchange", "ScriptedUpstream", "running_upstream"]
