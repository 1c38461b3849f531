"""Where carriers listen, asked of Ray, which says that, and whether they live, and nothing else."""

from __future__ import annotations

from actors.cluster.calls import find_actor, from_carrier
from actors.cluster.deployed import Deployed
from actors.core.errors import OtherDeploy
from actors.ports.transport import Address
from actors.replica.links import Links

__all__ = ["ways_to_carriers"]


class RayDirectory:
    """See `actors.ports.directory.Directory`."""

    async def address(self, carrier: str) -> Address:
        handle = await find_actor(carrier)
        try:
            return await from_carrier(handle.endpoint.remote())
        except AttributeError:  # It has no such method.
            raise OtherDeploy("The carrier is of another release.") from None


def ways_to_carriers(deployed: Deployed) -> Links:
    return Links(deployed.transport(), RayDirectory())
