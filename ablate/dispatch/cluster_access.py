"""The way into a Ray cluster: its address and its token are checked within seconds, where Ray tries for minutes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ablate.core.errors import UsageError

ALLOWED = "auto, or HOST:PORT of a cluster that this machine belongs to"
TOKENS = "RAY_AUTH_TOKEN_PATH, RAY_AUTH_TOKEN or ~/.ray/auth_token"
SECONDS_TO_ANSWER = 5.0
CURRENT = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` leaves the address of the cluster that a machine belongs to."""


def found(address: str) -> tuple[str, int]:
    """The host and port of the cluster's head.

    Raises:
        UsageError: it is no such address, or with `auto` no Ray runs on this machine.
    """
    typed = f"dispatch.address={address}"
    if address.startswith("ray://"):
        raise UsageError(
            f"{typed}: Ray Client does not stream what trials tell; allowed: {ALLOWED}; "
            "from any other machine: python -m ablate.submit -m ..."
        )
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or (CURRENT.read_text().strip() if CURRENT.is_file() else "")
        if not address or address == "auto":
            raise UsageError(
                f"{typed}: no Ray runs on this machine; allowed: ray start --address=HOST:PORT here first; "
                "from any other machine: python -m ablate.submit -m ..."
            )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{typed}: allowed: {ALLOWED}")
    return host.strip("[]"), int(port)


def check(address: str) -> str:
    """HOST:PORT of the cluster, which answers there and takes this person's token.

    Raises:
        UsageError: nobody answers, or the token is missing or wrong; the token itself is never told.
    """
    host, port = found(address)
    typed, own = f"dispatch.address={address}", token()
    if own and os.environ.get("RAY_AUTH_MODE") is None:
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray's own commands do where there is one; read as Ray is imported
    try:
        socket.create_connection((host, port), SECONDS_TO_ANSWER).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{typed}: no Ray answers at {host}:{port} ({reason}); allowed: {ALLOWED}") from error
    nodes = _nodes(host, port, own)
    if nodes is None and not own:
        raise UsageError(f"{typed}: the cluster wants a token, and there is none; allowed: the cluster's, in {TOKENS}")
    if nodes is None:
        raise UsageError(f"{typed}: the cluster refused the token; allowed: the cluster's own, in {TOKENS}")
    if not any(map(_is_here, nodes)):
        raise UsageError(
            f"{typed}: this machine is none of the cluster's; allowed: ray start --address={host}:{port} here first, "
            "with --num-cpus=0 where no trials are to run; from any other machine: python -m ablate.submit -m ..."
        )
    return f"{host}:{port}"


def token() -> str | None:
    """In the order in which Ray looks."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: the Ray token cannot be read: {error.strerror}") from error


def _nodes(host: str, port: int, token: str | None) -> list[str] | None:
    """The addresses of the machines that are there, None where the head refuses the token.

    Raises:
        UsageError: something else answers.
    """
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return ["127.0.0.1"]  # Ray itself says what it thinks of the certificates
    import grpc
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    headers = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            told = NodeInfoGcsServiceStub(channel).GetAllNodeInfo(
                messages.GetAllNodeInfoRequest(), timeout=SECONDS_TO_ANSWER, metadata=headers
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return None
            raise UsageError(
                f"dispatch.address={host}:{port}: something answers there, but no Ray ({error.code().name}); "
                f"allowed: {ALLOWED}"
            ) from error
    return [node.node_manager_address for node in told.node_info_list if node.state == node.ALIVE]


def _is_here(address: str) -> bool:
    """Whether the address is one of this machine's: no other can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
