"""Access to a Ray cluster: its address and its token are checked within seconds, where Ray would try for minutes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ablate.core import invocation
from ablate.core.errors import UsageError
from ablate.dispatch import ray_private

ALLOWED = "auto, or HOST:PORT of a cluster that this machine belongs to"
TOKENS = "RAY_AUTH_TOKEN_PATH, RAY_AUTH_TOKEN or ~/.ray/auth_token"
SECONDS_TO_ANSWER = 5.0


def resolve(address: str) -> tuple[str, int]:
    """Return the host and port of the cluster's head, given dispatch.address as typed.

    Raises:
        UsageError: it is not an address of a head, or with `auto` no Ray runs on this machine.
    """
    typed = f"dispatch.address={address}"
    if address.startswith("ray://"):
        raise UsageError(
            f"{typed}: Ray Client does not stream the events of trials; allowed: {ALLOWED}; "
            f"from any other machine: {invocation.command('submit')} -m ..."
        )
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or ray_private.current_cluster()
        if not address or address == "auto":
            raise UsageError(
                f"{typed}: no Ray runs on this machine; allowed: ray start --address=HOST:PORT here first; "
                f"from any other machine: {invocation.command('submit')} -m ..."
            )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{typed}: allowed: {ALLOWED}")
    return host.strip("[]"), int(port)


def check(address: str) -> str:
    """Return HOST:PORT of the cluster's head, which answers and accepts this user's token.

    Raises:
        UsageError: nobody answers, or the token is missing or wrong, or this machine does not belong to the cluster.
            The message never holds the token.
    """
    host, port = resolve(address)
    typed, own_token = f"dispatch.address={address}", token()
    if own_token and os.environ.get("RAY_AUTH_MODE") is None:
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray's own commands do with a token; read on import
    try:
        socket.create_connection((host, port), SECONDS_TO_ANSWER).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{typed}: no Ray answers at {host}:{port} ({reason}); allowed: {ALLOWED}") from error
    try:
        machines = _machines(host, port, own_token)
    except PermissionError as error:
        reason = "the cluster refused the token" if own_token else "the cluster wants a token, and there is none"
        raise UsageError(f"{typed}: {reason}; allowed: the cluster's own, in {TOKENS}") from error
    if not any(map(_is_here, machines)):
        raise UsageError(
            f"{typed}: this machine does not belong to the cluster; allowed: "
            f"ray start --address={host}:{port} here first, with --num-cpus=0 where no trials shall run; "
            f"from any other machine: {invocation.command('submit')} -m ..."
        )
    return f"{host}:{port}"


def token() -> str | None:
    """Return this user's token, from the first place that has one, in the order in which Ray looks.

    Raises:
        UsageError: its file cannot be read.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: the Ray token cannot be read: {error.strerror}") from error


def _machines(host: str, port: int, token: str | None) -> list[str]:
    """Return the addresses of the cluster's machines that run.

    Raises:
        PermissionError: the head refuses the token, or wants one.
        UsageError: what answers there is no Ray.
    """
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return ["127.0.0.1"]  # Ray itself reports what is wrong with the certificates
    try:
        return ray_private.alive_machines(host, port, token, SECONDS_TO_ANSWER)
    except ConnectionError as error:
        raise UsageError(
            f"dispatch.address={host}:{port}: something answers there, but no Ray ({error}); allowed: {ALLOWED}"
        ) from error


def _is_here(address: str) -> bool:
    """Return whether the address is one of this machine's. No other address can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
