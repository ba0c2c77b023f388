"""An S3 server of this machine, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_SERVER = """
from moto.server import ThreadedMotoServer
import sys, threading
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
sys.stdout.write(f"{server.get_host_and_port()[1]}\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@contextmanager
def s3_server(bucket: str) -> Iterator[Mapping[str, str]]:
    """Starts it with an empty bucket; gives the environment that S3 clients find it by."""
    # Without proxies: moto must be spoken to directly.
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
    )
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        made = urllib.request.Request(f"{url}/{bucket}", method="PUT")
        for _ in range(50):
            try:
                urllib.request.urlopen(made, timeout=10).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError("the S3 server does not answer")
        yield {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        process.kill()
        process.wait()
