from __future__ import annotations

import socket
from concurrent import futures

import pytest

from ablate.core.errors import UsageError
from ablate.dispatch import cluster_access, ray_private

TOKEN = "7" * 64


class Head:
    """What answers where a cluster's head listens: it lets in whoever has the token."""

    def __init__(self, token, machines=("127.0.0.1", "192.0.2.7")):
        import grpc
        from ray.core.generated import gcs_pb2
        from ray.core.generated import gcs_service_pb2 as messages
        from ray.core.generated import gcs_service_pb2_grpc as services

        class Service(services.NodeInfoGcsServiceServicer):
            def GetAllNodeInfo(self, request, context):
                if token and dict(context.invocation_metadata()).get("authorization") != f"Bearer {token}":
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
                nodes = [gcs_pb2.GcsNodeInfo(node_manager_address=address, state=0) for address in machines]
                return messages.GetAllNodeInfoReply(node_info_list=nodes)

        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        services.add_NodeInfoGcsServiceServicer_to_server(Service(), self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()


@pytest.fixture
def head():
    started = Head(TOKEN)
    yield started
    started.server.stop(None).wait()


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """No token, no Ray, and an empty home."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray_private, "CURRENT_CLUSTER", tmp_path / "ray_current_cluster")


def test_the_right_token_is_accepted_from_each_of_its_three_sources(head, tmp_path, monkeypatch):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    assert cluster_access.check(head.address) == head.address
    (tmp_path / "elsewhere").write_text(f"{TOKEN}\n")
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "elsewhere"))
    assert cluster_access.check(head.address) == head.address
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / ".ray" / "auth_token"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert cluster_access.check(head.address) == head.address


def test_a_wrong_token_and_a_missing_one_have_messages_of_their_own_and_neither_token_is_shown(head, monkeypatch):
    with pytest.raises(UsageError, match="the cluster wants a token, and there is none"):
        cluster_access.check(head.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(UsageError, match="the cluster refused the token") as refused:
        cluster_access.check(head.address)
    assert "000" not in str(refused.value)


def test_a_cluster_without_tokens_accepts_everyone():
    open_head = Head(None)
    try:
        assert cluster_access.check(open_head.address) == open_head.address
    finally:
        open_head.server.stop(None).wait()


def test_a_machine_that_has_not_joined_is_refused_with_how_to_join():
    elsewhere = Head(None, machines=("192.0.2.7",))
    try:
        with pytest.raises(UsageError, match="this machine does not belong to the cluster; allowed: ray start --add"):
            cluster_access.check(elsewhere.address)
    finally:
        elsewhere.server.stop(None).wait()


def test_no_server_and_a_server_that_is_no_ray_have_messages_of_their_own():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cluster_access, "SECONDS_TO_ANSWER", 0.5)
            with pytest.raises(UsageError, match="something answers there, but no Ray"):
                cluster_access.check(f"127.0.0.1:{port}")
    with pytest.raises(UsageError, match=rf"no Ray answers at 127.0.0.1:{port} \(Connection refused\)"):
        cluster_access.check(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "dispatch.address=ray://head:10001: Ray Client does not stream the events of trials; "),
        ("head", "dispatch.address=head: allowed: auto, or HOST:PORT"),
        ("head:port", "dispatch.address=head:port: allowed: auto, or HOST:PORT"),
        ("auto", "dispatch.address=auto: no Ray runs on this machine; allowed: ray start "),
    ],
)
def test_a_malformed_address_is_refused_with_what_is_allowed(address, message):
    with pytest.raises(UsageError) as refused:
        cluster_access.resolve(address)
    assert str(refused.value).startswith(message)


def test_auto_is_the_cluster_that_this_machine_belongs_to(monkeypatch):
    ray_private.CURRENT_CLUSTER.write_text("10.0.0.7:6379")
    assert cluster_access.resolve("auto") == ("10.0.0.7", 6379)
    monkeypatch.setenv("RAY_ADDRESS", "[::1]:6380")
    assert cluster_access.resolve("auto") == ("::1", 6380)
