"""Who calls, and from where: what the door and the resolvers are told of an HTTP request."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from auth.viewer import Viewer
from context import Origin, Services, admit

Address = IPv4Address | IPv6Address

MASKED = {4: 24, 6: 48}  # bits of an address that tell a network, and hardly a person
COUNTED = {4: 32, 6: 64}  # bits of an address that one subscriber cannot change at will


async def find_viewer(services: Services, request: Request, origin: Origin) -> Viewer | None:
    """The caller; None without a credential. Raises what the door raises."""
    authorization = [value for name, value in request.scope["headers"] if name == b"authorization"]
    return await admit(services, authorization, address=origin.address)


def origin_of(request: HTTPConnection, detail: str) -> Origin:
    """Where a request comes from; detail: full, masked or off, of the address that is kept."""
    address = address_of(request.scope)
    kept = {"full": str(address), "masked": network(address, MASKED)}.get(detail)
    return Origin(
        user_agent=request.headers.get("user-agent"),
        address=kept if address else None,
        network=network(address, COUNTED),
    )


def masked(scope: Scope) -> str | None:
    """The client's network, for the log: whoever reads one need not know more."""
    return network(address_of(scope), MASKED) or None


def address_of(scope: Scope) -> Address | None:
    """The client's address, as a trusted proxy says where one is configured; None if unknown."""
    try:
        # Without its scope (fe80::1%eth0), which is this node's business and not PostgreSQL's.
        address = ip_address(str(scope["client"][0]).partition("%")[0])
    except (TypeError, ValueError):
        return None
    return getattr(address, "ipv4_mapped", None) or address  # from a dual-stack socket


def network(address: Address | None, bits: dict[int, int]) -> str:
    """The network of an address; empty for none."""
    if address is None:
        return ""
    return str(ip_network(f"{address}/{bits[address.version]}", strict=False))
