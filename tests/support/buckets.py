"""An object store on loopback, as Amazon's S3 speaks, and one in this process's memory."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "ablate"
_numbers = itertools.count()


@contextmanager
def s3_server() -> Iterator[str]:
    """moto's S3, with the environment that finds it; gives its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    before = dict(os.environ)
    os.environ.update(
        AWS_ENDPOINT_URL=address,
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing-secret",
        AWS_DEFAULT_REGION="us-east-1",
    )
    try:
        connection().mkdir(BUCKET)
        yield address
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)


def connection():
    import fsspec

    return fsspec.filesystem("s3", use_listings_cache=False)


def fresh_url(protocol: str) -> str:
    """A place of its own for each test."""
    return f"{protocol}://{BUCKET}/test-{next(_numbers)}"
