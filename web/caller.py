"""Who calls, and from where: what the door and the resolvers are told of an HTTP request."""

from collections.abc import Awaitable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import Scope

from auth.viewer import Viewer
from context import Asked, Origin, Services, admit
from web.head import Head, head_of

Address = IPv4Address | IPv6Address

MASKED = {4: 24, 6: 48}  # bits of an address that tell a network, and hardly a person
COUNTED = {4: 32, 6: 64}  # bits of an address that one subscriber cannot change at will


def find_viewer(
    services: Services,
    head: Head,
    origin: Origin,
    *,
    with_live: bool = False,
    asked: Asked | None = None,
) -> Awaitable[Viewer | None]:
    """The caller; None without a credential. Raises what the door raises."""
    return admit(
        services,
        head.authorization,
        address=origin.address,
        with_live=with_live,
        asked=asked,
    )


def origin_of(scope: Scope, detail: str) -> Origin:
    """Where a request comes from; detail: full, masked or off, of the address that is kept."""
    kept, counted = told_of(client_of(scope), detail)
    return Origin(head_of(scope).user_agent, kept, counted)


@lru_cache(maxsize=4096)
def told_of(host: str, detail: str) -> tuple[str | None, str]:
    """What is kept of an address, and the network that it is counted with."""
    address = parse_address(host)
    kept = {"full": str(address), "masked": network(address, MASKED)}.get(detail)
    return kept if address else None, network(address, COUNTED)


def masked(scope: Scope) -> str | None:
    """The client's network, for the log: whoever reads one need not know more."""
    return masked_network(client_of(scope)) or None


@lru_cache(maxsize=4096)
def masked_network(host: str) -> str:
    """The network of a client's address as the log has it."""
    return network(parse_address(host), MASKED)


def client_of(scope: Scope) -> str:
    """The client's address as text, as a trusted proxy says where one is configured."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def parse_address(host: str) -> Address | None:
    """An address; None if there is none."""
    try:
        # Without its scope (fe80::1%eth0), which is this node's business and not PostgreSQL's.
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address  # from a dual-stack socket


def network(address: Address | None, bits: dict[int, int]) -> str:
    """The network of an address; empty for none."""
    if address is None:
        return ""
    return str(ip_network(f"{address}/{bits[address.version]}", strict=False))
