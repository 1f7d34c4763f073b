"""A large object passes through a process that never holds much of it."""

import io
import os

from boto3.s3.transfer import TransferConfig

from conftest import Devnet, s3_client

MIB = 1 << 20
SIZE = 1024 * MIB
MOST = 512 * MIB


class Pattern(io.RawIOBase):
    """A file of `size` bytes that is nowhere: each MiB is the same noise behind its own number."""

    NOISE = os.urandom(MIB - 8)

    def __init__(self, size):
        super().__init__()
        self.size, self.at = size, 0

    def __len__(self):
        return self.size

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=io.SEEK_SET):
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def read(self, count=-1):
        left = self.size - self.at
        end = self.at + (left if count is None or count < 0 else min(count, left))
        out = []
        while self.at < end:
            number, skip = divmod(self.at, MIB)
            block = number.to_bytes(8, "little") + self.NOISE
            out.append(block[skip : skip + end - self.at])
            self.at += len(out[-1])
        return b"".join(out)


def most_resident(pid):
    """Most bytes that the process ever had in memory."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def same(s3, bucket, key):
    """Reads the object back, piece by piece."""
    want = Pattern(SIZE)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    while piece := body.read(4 * MIB):
        if piece != want.read(len(piece)):
            return False
    return want.tell() == SIZE


def test_a_gibibyte_in_parts_or_in_one_request_stays_under_half_a_gibibyte(tmp_path_factory):
    # All in one process: chain, sixteen operators and the gateway. Epochs of ten seconds, because this one is about
    # memory and not about duties that have to be met while a small machine moves gigabytes.
    running = Devnet(tmp_path_factory.mktemp("large"), epoch="10s")
    try:
        s3 = s3_client(running.ready)
        s3.create_bucket(Bucket="large")
        parts = TransferConfig(multipart_chunksize=64 * MIB, max_concurrency=4)
        s3.upload_fileobj(Pattern(SIZE), "large", "parts", Config=parts)
        assert same(s3, "large", "parts")
        s3.put_object(Bucket="large", Key="whole", Body=Pattern(SIZE))
        assert same(s3, "large", "whole")
        most = most_resident(running.ready["pid"])
    finally:
        running.stop()
    assert most < MOST, f"{most / MIB:.0f} MiB"
