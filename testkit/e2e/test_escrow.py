"""What happens when the customer's money runs out: reading goes on, writing stops, then the lease ends."""

import os

from botocore.exceptions import ClientError
from conftest import Devnet, s3_client
from test_faults import cairn, until

MIB = 1 << 20


def free_space(devnet):
    """MiB that operators offer and that nobody fills, over all operators."""
    told = cairn(devnet, "doctor")
    texts = [f["cause"] for findings in told.values() for f in findings if f["code"] == "storage.space"]
    return sum(int(t.split("held, ")[1].split(" MiB")[0]) for t in texts)


def refused(s3, body):
    """The error of a write, or None if it was taken."""
    try:
        s3.put_object(Bucket="paid", Key="probe", Body=body)
    except ClientError as error:
        return error.response["Error"]
    return None


def test_an_empty_escrow_is_read_only_until_paid_and_then_the_lease_ends(tmp_path):
    devnet = Devnet(tmp_path, "--prepaid", "6")
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="paid")
        body, probe = os.urandom(44 * MIB), os.urandom(MIB)
        s3.put_object(Bucket="paid", Key="x", Body=body)
        assert refused(s3, probe) is None

        (health,) = cairn(devnet, "doctor", "gateway").values()
        assert [f["level"] for f in health if f["code"] == "storage.escrow"], health
        error = until("the escrow runs dry", 90, lambda: refused(s3, probe))
        assert error["Code"] == "AccountProblem" and "buy credits" in error["Message"], error
        assert s3.get_object(Bucket="paid", Key="x")["Body"].read() == body
        s3.delete_object(Bucket="paid", Key="probe")

        cairn(devnet, "devnet", "ctl", "pay", "8000")
        until("paid again, it takes data again", 30, lambda: refused(s3, probe) is None)

        paid = cairn(devnet, "storage", "escrow")
        assert len(paid["leases"]) == 2 and not any(lease["empty"] for lease in paid["leases"]), paid
        before = free_space(devnet)
        # Twelve epochs of patience after the last credit.
        until("the lease ends", 180, lambda: "storage.ended" in str(read_error(s3)))
        until("operators have their space back", 60, lambda: free_space(devnet) > before + 100)
        assert refused(s3, probe)["Code"] == "AccountProblem"
        assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["paid"], "the index is paid for"
    finally:
        devnet.stop()


def read_error(s3):
    """The error of reading one byte (bytes served cost money), or None."""
    try:
        s3.get_object(Bucket="paid", Key="x", Range="bytes=0-0")["Body"].read()
    except ClientError as error:
        return error.response["Error"]
    return None
