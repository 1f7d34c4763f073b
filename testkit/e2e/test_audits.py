"""Retrieval audits on a network of its own: who proves and does not serve looks dearer, and nothing else happens to it."""

import json
import os
import subprocess
import urllib.request

from conftest import Devnet, s3_client
from test_faults import cairn, control, settled_epochs, until


def get(devnet, path):
    with urllib.request.urlopen(f"{devnet.ready['api']}{path}", timeout=30) as answer:
        return json.loads(answer.read())


def findings(devnet, name):
    """What doctor says; it exits with 1 where something is bad, not for warnings."""
    command = [os.environ["CAIRN_BIN"], "--api", devnet.ready["api"], "--json", "doctor", name]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    said = json.loads(done.stdout)
    return {f["code"]: f for f in (said.get("error", {}).get("findings") or said)[name]}


def test_who_proves_and_does_not_serve_looks_dearer_and_loses_nothing_else(tmp_path):
    # Long enough for sixteen operators and their audits on a machine that builds at the same time.
    devnet = Devnet(tmp_path, epoch="4s")
    try:
        s3 = s3_client(devnet.ready)
        s3.create_bucket(Bucket="audit")
        body = os.urandom(4 << 20)
        s3.put_object(Bucket="audit", Key="x", Body=body)
        device = {o["name"]: o["device"] for o in control(devnet, "facts")["operators"]}
        weight = lambda name: get(devnet, f"/v1/devices/{device[name]}")["price_weight_ppm"]
        # Audits need a commitment to data, and the draw is for everybody to see.
        now = until("data is committed", 60, lambda: len(settled_epochs(devnet)) >= 3 and cairn(devnet, "status")["epoch"])
        drawn = get(devnet, f"/v1/audits/1/{now - 1}/{device['op-1']}")
        assert len(set(drawn["auditors"])) == 3 and device["op-1"] not in drawn["auditors"], drawn
        for auditor in drawn["auditors"]:
            assert device["op-1"] in get(devnet, f"/v1/audits/1/{now - 1}/{auditor}")["audits"]
        assert all(weight(name) == 1_000_000 for name in device)
        bond = get(devnet, f"/v1/devices/{device['op-1']}")["bond_pebbles"]

        cairn(devnet, "devnet", "ctl", "cheat", "op-1", "proves-but-does-not-serve")
        until("op-1 looks dearer", 90, lambda: weight("op-1") > 1_000_000)
        said = findings(devnet, "op-1")
        assert said["doctor.weight"]["level"] == "warning", said
        assert "refused" in said["storage.retrieval"]["cause"], said
        assert "doctor.locked" not in said, said
        assert "doctor.weight" not in findings(devnet, "op-2")

        # It proves: nothing is slashed, it is paid as before, and whoever has the pack comes to the same.
        bad = int(said["storage.retrieval"]["cause"].split("epochs ")[1].split(":")[0].split(",")[0])
        rows = cairn(devnet, "earnings", "--explain", str(bad), "--operator", "op-1")["rows"]
        assert any("retrieval audits were refused" in json.dumps(row) for row in rows), rows
        assert sum(int(row["charged_micro_usd"]) for row in rows) > 0, rows
        assert cairn(devnet, "verify", "epoch", str(bad))["verified"] is True
        assert {name: weight(name) for name in device if weight(name) != 1_000_000}.keys() == {"op-1"}
        assert get(devnet, f"/v1/devices/{device['op-1']}")["bond_pebbles"] == bond
        assert s3.get_object(Bucket="audit", Key="x")["Body"].read() == body
    finally:
        devnet.stop()
