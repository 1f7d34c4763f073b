"""Networks that are killed, robbed and cheated on, each in a process of its own."""

import json
import os
import signal
import subprocess
import time
import urllib.request

import pytest
from conftest import Devnet, s3_client


def cairn(devnet, *words):
    command = [os.environ["CAIRN_BIN"], "--api", devnet.ready["api"], "--json", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def until(what, seconds, check):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.3)
    pytest.fail(f"{what}: not within {seconds} s")


def settled_epochs(devnet):
    return [e["epoch"] for e in cairn(devnet, "status")["epochs"] if e["phase"] == "settled"]


def test_nothing_acknowledged_is_lost_when_everything_is_killed(tmp_path):
    stored = {}
    for life in range(4):
        devnet = Devnet(tmp_path)
        try:
            s3 = s3_client(devnet.ready)
            if life == 0:
                s3.create_bucket(Bucket="kill")
            for key, body in stored.items():
                assert s3.get_object(Bucket="kill", Key=key)["Body"].read() == body, f"{key} in life {life}"
            for n in range(12):
                key, body = f"{life}/{n}", os.urandom(1 << (8 + n))
                s3.put_object(Bucket="kill", Key=key, Body=body)
                stored[key] = body
            # No pause: the last answer is milliseconds old.
            os.killpg(devnet.process.pid, signal.SIGKILL)
        finally:
            devnet.stop()
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        for key, body in stored.items():
            assert s3.get_object(Bucket="kill", Key=key)["Body"].read() == body, key
        until("settlements go on", 40, lambda: settled_epochs(devnet))
    finally:
        devnet.stop()


def test_reads_survive_n_minus_k_operators_and_one_more_is_a_clear_error_in_time(tmp_path):
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="down")
        body = os.urandom(3 << 20)
        s3.put_object(Bucket="down", Key="x", Body=body)
        cost = cairn(devnet, "storage", "cost", "1GB")
        spare = cost["n"] - cost["k"]
        # Operators are chosen by price, the cheapest first: op-1 holds a slot, and so on.
        for i in range(1, spare + 1):
            cairn(devnet, "devnet", "ctl", "crash", f"op-{i}")
        assert s3.get_object(Bucket="down", Key="x")["Body"].read() == body
        cairn(devnet, "devnet", "ctl", "crash", f"op-{spare + 1}")
        begin = time.monotonic()
        with pytest.raises(Exception) as error:
            s3.get_object(Bucket="down", Key="x")["Body"].read()
        assert time.monotonic() - begin < 60
        assert "fragments" in str(error.value) or "closed" in str(error.value).lower() or "Unavailable" in str(error.value), error.value
        cairn(devnet, "devnet", "ctl", "restart", "op-1")
        assert s3.get_object(Bucket="down", Key="x")["Body"].read() == body
    finally:
        devnet.stop()


def test_cheats_earn_nothing_and_a_forged_proof_costs_the_bond(tmp_path):
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="cheat")
        for n in range(8):
            s3.put_object(Bucket="cheat", Key=str(n), Body=os.urandom(1 << 20))
        assert "bad-proof" in cairn(devnet, "devnet", "ctl", "cheat", "op-1")["cheats"]
        until("a settled epoch", 40, lambda: settled_epochs(devnet))
        cheats = {"op-1": "bad-proof", "op-2": "stale-proof", "op-3": "inflated-size", "op-4": "commitment-changed"}
        for name, cheat in cheats.items():
            cairn(devnet, "devnet", "ctl", "cheat", name, cheat)
        begun = cairn(devnet, "status")["epoch"]
        judged = until("an epoch under the cheats", 40, lambda: [e for e in settled_epochs(devnet) if e >= begun + 2])[0]
        for name, cheat in cheats.items():
            rows = cairn(devnet, "earnings", "--explain", str(judged), "--operator", name)["rows"]
            assert sum(int(r["charged_micro_usd"]) for r in rows) == 0, (name, cheat, rows)
        honest = cairn(devnet, "earnings", "--explain", str(judged), "--operator", "op-5")["rows"]
        assert sum(int(r["charged_micro_usd"]) for r in honest) > 0
        command = [os.environ["CAIRN_BIN"], "--api", devnet.ready["api"], "--json", "doctor", "op-1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        findings = json.loads(done.stdout)["error"]["findings"]["op-1"]
        assert done.returncode != 0 and any(f["code"] == "doctor.locked" for f in findings), findings
        for n in range(8):
            assert len(s3.get_object(Bucket="cheat", Key=str(n))["Body"].read()) == 1 << 20
    finally:
        devnet.stop()


def test_an_honest_operator_answers_an_accusation_and_a_dead_one_loses_bond(tmp_path):
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="dispute")
        s3.put_object(Bucket="dispute", Key="x", Body=os.urandom(3 << 20))
        time.sleep(2)
        assert cairn(devnet, "devnet", "ctl", "dispute", "op-2")["upheld"] is False
        cairn(devnet, "devnet", "ctl", "crash", "op-3")
        assert cairn(devnet, "devnet", "ctl", "dispute", "op-3")["upheld"] is True
    finally:
        devnet.stop()


def test_skipped_time_costs_honest_operators_nothing(tmp_path):
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="warp")
        s3.put_object(Bucket="warp", Key="x", Body=os.urandom(1 << 20))
        before = cairn(devnet, "status")["epoch"]
        assert cairn(devnet, "devnet", "ctl", "warp", "8")["epoch"] >= before + 8
        until("settlements go on", 30, lambda: [e for e in settled_epochs(devnet) if e >= before + 7])
        for i in range(1, 17):
            (findings,) = cairn(devnet, "doctor", f"op-{i}").values()
            assert not any(f["code"] == "doctor.locked" for f in findings), (i, findings)
    finally:
        devnet.stop()


def control(devnet, command, **body):
    """A command of the devnet that has no word on the command line."""
    request = urllib.request.Request(
        f"{devnet.ready['api']}/v1/devnet/{command}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def holders(devnet):
    """Devices on each lease of the customer, the log's lease first."""
    found = []
    for lease in control(devnet, "facts")["leases"]:
        with urllib.request.urlopen(f"{devnet.ready['api']}/v1/leases/{lease}", timeout=30) as answer:
            found.append([slot["device"] for slot in json.loads(answer.read())["slots"]])
    return sorted(found, key=len)


def test_operators_that_leave_one_by_one_without_a_gateway_take_nothing_along(tmp_path):
    devnet = Devnet(tmp_path)
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="slow")
        stored = {str(n): os.urandom(300_000) for n in range(4)} | {"inline": b"small"}
        for key, body in stored.items():
            s3.put_object(Bucket="slow", Key=key, Body=body)
        until("revisions are judged", 40, lambda: len(settled_epochs(devnet)) >= 3)
        control(devnet, "lose-gateway")
        names = {o["device"]: o["name"] for o in control(devnet, "facts")["operators"]}
        log, data = holders(devnet)
        original = [device for device in log if device in data]
        for device in original[:3]:
            cairn(devnet, "devnet", "ctl", "crash", names[device])
            until("its slots move on", 60, lambda: all(device not in lease for lease in holders(devnet)))
            # The copy of the log and the rebuild of the data.
            time.sleep(5)
        # Now as many at once as the code bears, and of the log's replicas first those that had it from the beginning.
        for device in original[3:11]:
            cairn(devnet, "devnet", "ctl", "crash", names[device])
        control(devnet, "recover", phrase=devnet.ready["recovery_phrase"])
        for key, body in stored.items():
            assert s3.get_object(Bucket="slow", Key=key)["Body"].read() == body, key
    finally:
        devnet.stop()
