"""What storing costs, what deleting gives back, and what paying once for ever means."""

import os
from types import SimpleNamespace

from conftest import Devnet, s3_client
from test_faults import cairn, until

MIB = 1 << 20


def test_prices_of_others_stand_beside_ours(devnet):
    told = cairn(SimpleNamespace(ready=devnet), "storage", "cost", "1TB")
    beside = {row["service"]: row for row in told["beside"]}
    assert beside["Amazon S3 Standard"]["at_rest_micro_usd"] == "23000000"
    assert all(row["as_of"] and row["source"] for row in beside.values())
    assert any(row["unconfirmed"] for row in beside.values())
    assert all(row["at_rest_micro_usd"] is None for row in beside.values() if row["conflict"])


def test_deleting_everything_ends_the_lease_and_pays_the_rest_back(tmp_path):
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="gone")
        s3.put_object(Bucket="gone", Key="x", Body=os.urandom(2 * MIB))
        before = cairn(devnet, "storage", "escrow")
        (log, data) = before["leases"]
        told = cairn(devnet, "storage", "rm", "s3://gone/x", "--dry-run")
        assert not told["deleted"] and "escrow comes back" in told["refund"], told
        s3.delete_object(Bucket="gone", Key="x")
        until("the lease is closed", 60, lambda: len(cairn(devnet, "storage", "escrow")["leases"]) == 1)
        free = int(before["free_micro_usd"])
        back = int(data["left_micro_usd"])
        got = lambda: int(cairn(devnet, "storage", "escrow")["free_micro_usd"]) - free
        until("most of its escrow is back", 60, lambda: got() > back * 9 // 10)
        s3.put_object(Bucket="gone", Key="y", Body=b"z" * MIB)
        assert s3.get_object(Bucket="gone", Key="y")["Body"].read() == b"z" * MIB
        (same, fresh) = cairn(devnet, "storage", "escrow")["leases"]
        assert same["lease"] == log["lease"] and fresh["lease"] != data["lease"]
    finally:
        devnet.stop()


def test_an_endowed_bucket_keeps_its_leases(tmp_path):
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="x", Body=os.urandom(2 * MIB))
        plan = cairn(devnet, "storage", "endow", "s3://kept", "--dry-run")
        assert not plan["endowed"] and plan["leases"] == 2, plan
        years = [row["years"] for row in plan["stress"]]
        assert abs(years[0] - 200) < 1 and abs(years[1] - 126.6) < 1 and abs(years[2] - 63.3) < 1, years
        leases = cairn(devnet, "storage", "endowment")["leases"]
        period = sum(int(row["epoch_price_micro_usd"]) for row in leases) * 12
        done = cairn(devnet, "storage", "endow", "s3://kept", "--credits", str(3 * period))
        assert done["endowed"] and all(int(row["paid_micro_usd"]) > 0 for row in done["leases"]), done
        left = sum(int(row["left_micro_usd"]) for row in done["leases"])
        assert 0 < left <= 2 * period + 12, "the first filling was made at once"
        s3.delete_object(Bucket="kept", Key="x")
        cairn(devnet, "devnet", "ctl", "warp", "10")
        assert len(cairn(devnet, "storage", "escrow")["leases"]) == 2, "an endowed lease cannot be closed"
    finally:
        devnet.stop()
