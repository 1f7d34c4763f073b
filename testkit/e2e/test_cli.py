"""The command line as an operator, a customer and an auditor use it, against the running devnet."""

import json
import os
import subprocess
import time

import pytest


def cairn(devnet, *words, ok=True):
    """Runs a command with --json; its object (an error object where it failed)."""
    command = [os.environ["CAIRN_BIN"], "--api", devnet["api"], "--json", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == ok, f"{words}: code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def settled(devnet, tmp_path_factory):
    """An epoch in which customers paid."""
    file = tmp_path_factory.mktemp("cli") / "paid.bin"
    file.write_bytes(os.urandom(1 << 20))
    cairn(devnet, "storage", "put", str(file), "s3://cli-settled/paid.bin")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        epochs = cairn(devnet, "status")["epochs"]
        paid = [e["epoch"] for e in epochs if e["phase"] == "settled" and int(e["charged_micro_usd"]) > 0]
        if paid:
            return paid[-1]
        time.sleep(0.5)
    pytest.fail("no epoch was settled with a charge within 60 s")


def test_a_file_goes_in_and_out(devnet, tmp_path):
    there, back = tmp_path / "there.bin", tmp_path / "back.bin"
    there.write_bytes(os.urandom(300_000))
    put = cairn(devnet, "storage", "put", str(there), "s3://cli-files/a b/ü.bin")
    assert put["bytes"] == 300_000
    listed = cairn(devnet, "storage", "ls", "s3://cli-files/a b/")
    assert [o["key"] for o in listed["objects"]] == ["a b/ü.bin"]
    cairn(devnet, "storage", "get", "s3://cli-files/a b/ü.bin", str(back))
    assert back.read_bytes() == there.read_bytes()
    assert cairn(devnet, "storage", "rm", "s3://cli-files/a b/ü.bin", "--dry-run")["deleted"] is False
    assert cairn(devnet, "storage", "rm", "s3://cli-files/a b/ü.bin")["deleted"] is True
    assert cairn(devnet, "storage", "ls", "s3://cli-files/")["objects"] == []


def test_an_error_names_code_cause_and_remedy(devnet, tmp_path):
    error = cairn(devnet, "storage", "get", "s3://cli-nowhere/x", str(tmp_path / "x"), ok=False)["error"]
    assert error["code"] == "s3.NoSuchBucket" and error["cause"] and error["remedy"]
    error = cairn(devnet, "verify", "epoch", "999999", ok=False)["error"]
    assert error["code"] == "verify.open"


def test_the_price_is_shown_before_anything_is_stored(devnet):
    cost = cairn(devnet, "storage", "cost", "500GB")
    assert cost["expansion"] > 1 and 0 < cost["annual_loss_probability"] < 1
    assert int(cost["at_rest_micro_usd"]) > 0


def test_earnings_explain_every_row(devnet, settled):
    earnings = cairn(devnet, "earnings", "--explain", str(settled))
    assert earnings["epoch"] == settled and len(earnings["operators"]) > 3
    assert all(row["note"] for row in earnings["rows"])
    assert sum(int(row["charged_micro_usd"]) for row in earnings["rows"]) > 0


def test_doctor_finds_nothing_bad_on_a_healthy_operator(devnet, settled):
    (findings,) = cairn(devnet, "doctor", "op-2").values()
    assert findings and all(f["level"] != "bad" for f in findings), findings


def test_a_bad_finding_is_one_object_and_a_failure(devnet):
    cairn(devnet, "devnet", "ctl", "crash", "op-15")
    try:
        error = cairn(devnet, "doctor", "op-15", ok=False)["error"]
    finally:
        cairn(devnet, "devnet", "ctl", "restart", "op-15")
    assert error["code"] == "doctor.bad" and error["cause"] and error["remedy"]
    assert "doctor.down" in [f["code"] for f in error["findings"]["op-15"]]


def test_a_line_that_is_not_understood_is_one_object_too(devnet):
    error = cairn(devnet, "storage", "fetch", ok=False)["error"]
    assert error["code"] == "cli.usage" and "fetch" in error["cause"] and error["remedy"]


def test_an_epoch_is_verified_and_an_altered_pack_is_refused(devnet, settled, tmp_path):
    pack, altered = tmp_path / "epoch.pack", tmp_path / "altered.pack"
    assert cairn(devnet, "verify", "epoch", str(settled))["verified"] is True
    trust = cairn(devnet, "export", "epoch", str(settled), "--out", str(pack))["trust"]
    assert len(trust) == 64
    report = cairn(devnet, "verify", "--pack", str(pack), "--trust", trust)
    assert report["settlement"] == trust and report["rows"] > 0
    data = bytearray(pack.read_bytes())
    for at in range(0, len(data), len(data) // 23):
        data[at] ^= 1
        altered.write_bytes(data)
        error = cairn(devnet, "verify", "--pack", str(altered), "--trust", trust, ok=False)["error"]
        assert error["code"].startswith("verify."), error
        data[at] ^= 1
    wrong = "0" * 64
    assert cairn(devnet, "verify", "--pack", str(pack), "--trust", wrong, ok=False)["error"]["code"] == "verify.trust"


def test_an_operator_leaves_gracefully(devnet):
    plan = cairn(devnet, "exit", "op-16", "--dry-run")
    assert plan["announced"] is False and plan["until_epoch"] > 0
    assert cairn(devnet, "exit", "op-16")["announced"] is True
    (findings,) = cairn(devnet, "doctor", "op-16").values()
    assert any(f["code"] == "doctor.exiting" for f in findings), findings


def test_the_state_is_exported(devnet, tmp_path):
    export = cairn(devnet, "export", "state", "--out", str(tmp_path / "state"))
    assert export["rows"] > 50 and len(export["digest"]) == 64
