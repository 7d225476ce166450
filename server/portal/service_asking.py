"""Which service somebody is about to sign in to: said before a password is typed."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tallystick.server.portal.web import Visit
from tallystick.server.services import oidc_clients, oidc_requests

KEPT = "kept"  # names a request that was too long for an address


def service_that_asks(visit: Visit, next_url: str) -> str:
    """The name that the firm gave the service, by the address that the browser goes on to; "" where
    that is no service of this firm."""
    url = urlsplit(next_url)
    if url.path != f"{visit.base}/oidc/authorize":
        return ""
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    with visit.state.database.read() as connection:
        if KEPT in query:
            query = (
                oidc_requests.kept(connection, visit.firm.id, query[KEPT], visit.state.now(), "")
                or {}
            )
        client = oidc_clients.find_client(
            connection, visit.firm.id, query.get("client_id", "")[:255]
        )
    return client.name if client is not None else ""
