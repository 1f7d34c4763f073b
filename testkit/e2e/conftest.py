"""One devnet process for the whole run, and the clients that speak to it.

A devnet that does not start fails every test: nothing here is ever skipped.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from types import SimpleNamespace

import boto3
import pytest
from botocore.config import Config

READY_SECONDS = 30
STOP_SECONDS = 15


class Devnet:
    """A running devnet: its process and what it said when it was ready."""

    def __init__(self, directory, *options, epoch="2s"):
        binary = os.environ.get("CAIRN_BIN")
        if not binary:
            pytest.fail("CAIRN_BIN names no binary; run the suite through `cargo xtask e2e`")
        self.talk = directory / "stderr.txt"
        command = [binary, "devnet", "--dir", str(directory / "devnet"), "--epoch", epoch, "--json"]
        command += ["--api-port", "0", "--s3-port", "0", *options]
        with open(self.talk, "wb") as talk:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=talk,
                start_new_session=True,
            )
        try:
            self.ready = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self):
        """The JSON object that the devnet prints when it can be used."""
        chunks = queue.Queue()

        def read():
            # Also drains the pipe later on, so that a chatty devnet never blocks.
            for line in self.process.stdout:
                chunks.put(line)
            chunks.put(None)

        threading.Thread(target=read, daemon=True).start()
        deadline = time.monotonic() + READY_SECONDS
        text = ""
        while True:
            try:
                line = chunks.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no JSON object within {READY_SECONDS} s; {self._said(text)}")
            if line is None:
                code = self.process.wait()
                pytest.fail(f"the devnet ended with code {code} before it was ready; {self._said(text)}")
            text += line.decode("utf-8", "replace")
            try:
                return json.loads(text)
            except json.JSONDecodeError:
                continue

    def _said(self, out):
        talk = self.talk.read_text(errors="replace")
        return f"stdout: {out[-2000:]!r}; end of stderr:\n{talk[-4000:]}"

    def stop(self):
        """Asks politely, then ends the whole process group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@pytest.fixture(scope="session")
def devnet(tmp_path_factory):
    """What the devnet printed: api, s3, accounts, pid."""
    running = Devnet(tmp_path_factory.mktemp("devnet"))
    yield running.ready
    running.stop()


def s3_client(devnet, signature=None, **changes):
    """A stock boto3 client. Retries are off, so that the first answer is the one we test."""
    s3 = {**devnet["s3"], **changes}
    return boto3.client(
        "s3",
        endpoint_url=s3["endpoint"],
        aws_access_key_id=s3["access_key"],
        aws_secret_access_key=s3["secret_key"],
        region_name=s3["region"],
        config=Config(
            signature_version=signature,
            retries={"total_max_attempts": 1},
            connect_timeout=10,
            read_timeout=120,
            s3={"addressing_style": "path"},
        ),
    )


@pytest.fixture(scope="session")
def s3(devnet):
    return s3_client(devnet)


@pytest.fixture
def bucket(s3):
    """A fresh bucket, emptied and removed afterwards: removal is part of what must work."""
    name = f"e2e-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=name)
    yield name
    for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=name, Key=found["Key"])
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def curl():
    """Runs the stock curl: status code, body."""
    program = shutil.which("curl")
    if program is None:
        pytest.fail("curl is not installed; `cargo xtask e2e` installs it where it may")

    def call(*arguments, stdin=b""):
        done = subprocess.run(
            [program, "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", *arguments],
            input=stdin,
            capture_output=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr.decode()
        body, _, code = done.stdout.rpartition(b"\n")
        return int(code), body

    return call


@pytest.fixture
def api(devnet):
    """Calls the HTTP API: status code, headers, body."""

    def call(path, body=None, method=None, kind="application/json"):
        request = urllib.request.Request(devnet["api"] + path, data=body, method=method)
        if body is not None:
            request.add_header("content-type", kind)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return SimpleNamespace(code=answer.status, headers=answer.headers, body=answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return SimpleNamespace(code=refusal.code, headers=refusal.headers, body=refusal.read())

    return call
