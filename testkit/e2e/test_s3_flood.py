"""A flood of bad clients: whoever behaves is served, and everything it gets is right."""

import os
import socket
import threading

import pytest
from access import code_of, refused, send
from conftest import Devnet, s3_client

ROUNDS = 25


class Flood:
    """Clients on other addresses of this machine, each doing the same bad thing until told to stop."""

    def __init__(self, devnet, clients, act):
        host, port = devnet["s3"]["endpoint"].split("://")[1].split(":")
        self.address, self.stop = (host, int(port)), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n, act), daemon=True) for n in range(clients)]

    def _run(self, number, act):
        own = (f"127.0.{1 + number % 5}.{1 + number % 200}", 0)
        while not self.stop.is_set():
            try:
                with socket.create_connection(self.address, timeout=5, source_address=own) as line:
                    act(line, self.stop)
            except OSError:
                # Being thrown out is what it is here for.
                pass
            # Hundreds of them share one processor with the good client.
            self.stop.wait(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(10)


def garbage(line, _):
    line.sendall(os.urandom(2000) + b"\r\n\r\n")
    line.recv(1000)


def silence(_, stop):
    stop.wait(2)


def trickle(line, stop):
    """A request line that never ends."""
    line.sendall(b"GET /flood HTTP/1.1\r\n")
    while not stop.wait(0.2):
        line.sendall(b"x: y\r\n")


def wrong_signature(line, _):
    line.sendall(
        b"GET /flood/k HTTP/1.1\r\nhost: x\r\nx-amz-date: 20260101T000000Z\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"
        b"authorization: AWS4-HMAC-SHA256 Credential=nobody/20260101/cairn/s3/aws4_request, "
        b"SignedHeaders=host, Signature=" + b"0" * 64 + b"\r\n\r\n"
    )
    line.recv(1000)


def slow_body(line, stop):
    """An upload to a bucket open for writing, whose body comes a byte at a time."""
    line.sendall(b"PUT /flood/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
    while not stop.wait(0.2):
        line.sendall(b"x")


def slow_form(line, stop):
    """A form whose fields never end."""
    line.sendall(
        b"POST /flood HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=B\r\n"
        b"content-length: 100000\r\n\r\n--B\r\n"
    )
    while not stop.wait(0.2):
        line.sendall(b"x")


def unread_answers(line, stop):
    """Asks for much and takes nothing."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.sendall(b"GET /flood/open HTTP/1.1\r\nhost: x\r\n\r\n" * 20)
    stop.wait(2)


@pytest.fixture(scope="module")
def devnet(tmp_path_factory):
    """A network of its own, with long epochs: a flood takes the processor from operators whose duties have deadlines."""
    running = Devnet(tmp_path_factory.mktemp("flood"), epoch="60s")
    yield running.ready
    running.stop()


@pytest.fixture(scope="module")
def s3(devnet):
    return s3_client(devnet)


@pytest.fixture(scope="module")
def target(s3):
    s3.create_bucket(Bucket="flood", ACL="public-read-write")
    s3.put_object(Bucket="flood", Key="open", Body=bytes(1 << 20), ACL="public-read")
    return "flood"


BAD = [garbage, silence, trickle, wrong_signature, slow_body, slow_form, unread_answers]


@pytest.mark.parametrize("act", BAD, ids=lambda act: act.__name__)
def test_who_behaves_is_served_in_a_flood_of(devnet, target, act):
    good = s3_client(devnet)
    with Flood(devnet, 150, act):
        for n in range(ROUNDS):
            body = bytes([n]) * (1 + n * 997)
            good.put_object(Bucket=target, Key=f"good-{n % 4}", Body=body)
            assert good.get_object(Bucket=target, Key=f"good-{n % 4}")["Body"].read() == body


def test_new_connections_are_served_in_a_flood_of_all(devnet, target):
    """More connections than the server keeps, of every kind; the good one connects anew each time."""

    def anything(line, stop):
        BAD[line.getsockname()[1] % len(BAD)](line, stop)

    with Flood(devnet, 600, anything):
        for n in range(ROUNDS):
            good = s3_client(devnet)
            body = bytes([n]) * 5000
            good.put_object(Bucket=target, Key="fresh", Body=body)
            assert good.get_object(Bucket=target, Key="fresh")["Body"].read() == body
            good.close()


def test_strangers_have_their_share_and_hear_when_to_come_again(devnet, target):
    answers = []

    def ask():
        for _ in range(60):
            answers.append(send(devnet, "GET", f"/{target}/none"))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = {(a.status, code_of(a)) for a in answers}
    assert kinds == {(404, "NoSuchKey"), (503, "SlowDown")}, kinds
    late = [a for a in answers if a.status == 503]
    assert all(int(a.headers["retry-after"]) >= 1 for a in late)
    s3_client(devnet).head_bucket(Bucket=target)


def test_headers_without_end_are_cut(devnet):
    host, port = devnet["s3"]["endpoint"].split("://")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        try:
            while sent < 1 << 20:
                sent += line.send(b"x: " + b"y" * 1000 + b"\r\n")
            answer = line.recv(1000)
        except OSError:
            answer = b""
        assert answer == b"" or b" 431 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0], answer


def test_an_xml_body_has_a_limit(s3, target):
    many = {"Objects": [{"Key": f"{n:04}" + "x" * 1000} for n in range(5000)]}
    assert refused(s3.delete_objects, Bucket=target, Delete=many) == "MaxMessageLengthExceeded"
