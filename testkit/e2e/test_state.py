"""A network's state leaves it as a file and goes on in another network, under the next fork."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

from conftest import Devnet, s3_client


def run(*words, ok=True):
    """A command with --json; its object (an error object where it failed)."""
    command = [os.environ["CAIRN_BIN"], "--json", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == ok, f"{words}: code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def get(devnet, path):
    with urllib.request.urlopen(devnet.ready["api"] + path, timeout=30) as answer:
        return json.loads(answer.read())


def post(devnet, transaction):
    request = urllib.request.Request(devnet.ready["api"] + "/v1/transactions", data=transaction)
    request.add_header("content-type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return json.loads(refusal.read())


def accounts(devnet):
    """Balances and nonces by name."""
    return {a["name"]: get(devnet, "/v1/accounts/" + a["address"]) for a in devnet.ready["accounts"]}


def leases(devnet):
    """The customer's leases, with who holds them."""
    (customer,) = (a["address"] for a in devnet.ready["accounts"] if a["name"] == "customer")
    ids = get(devnet, f"/v1/accounts/{customer}/leases")["leases"]
    return {lease: get(devnet, "/v1/leases/" + lease) for lease in ids}


def held(lease):
    return [slot["device"] for slot in lease["slots"]]


def an_old_transaction(devnet):
    """The bytes of a transaction that an account signed, cut out of a block that holds it alone."""
    network = bytes.fromhex(get(devnet, "/v1/status")["network"])
    for height in range(1, get(devnet, "/v1/status")["height"]):
        block = bytes.fromhex(get(devnet, f"/v1/blocks/{height}")["block"])
        # A list of one, an account's transaction, its network.
        at = block.find(b"\x01\x00\x00\x00" + b"\x00" + network)
        for size in (1, 2, 3):
            length = varint(block[at - size : at])
            # Behind the body come two roots and a range of two numbers.
            if at > 0 and length and 66 <= len(block) - at - length <= 84:
                return block[at + 4 : at + length]
    raise AssertionError("no block holds one transaction of an account alone")


def varint(data):
    if any(b < 128 for b in data[:-1]) or data[-1] >= 128:
        return None
    return sum((b & 127) << (7 * i) for i, b in enumerate(data))


def test_a_state_goes_on_in_another_network(tmp_path):
    state, body = tmp_path / "state", os.urandom(1 << 20)
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(), new.mkdir()
    first = Devnet(old)
    try:
        api = ("--api", first.ready["api"])
        s3 = s3_client(first.ready)
        s3.create_bucket(Bucket="fork")
        s3.put_object(Bucket="fork", Key="x", Body=body)
        deadline = time.monotonic() + 60
        while True:
            before = accounts(first), leases(first)
            export = run(*api, "export", "state", "--out", str(state))
            if before == (accounts(first), leases(first)):
                break
            assert time.monotonic() < deadline, "accounts never stood still"
        stale = an_old_transaction(first)
        assert post(first, stale)["code"] != "tx.malformed"
    finally:
        first.stop()
    assert export["fork"] == 0 and len(export["digest"]) == 64 and export["bytes"] == state.stat().st_size
    assert state.stat().st_mode & 0o777 == 0o600

    directory = new / "devnet"
    start = ("devnet", "--epoch", "2s", "--api-port", "0", "--s3-port", "0", "--dir", str(directory), "--import")
    assert run(*start, str(state), ok=False)["error"]["code"] == "import.disks"
    directory.mkdir(exist_ok=True)
    shutil.copytree(old / "devnet" / "operators", directory / "operators")
    broken = tmp_path / "broken"
    for content, code in [
        (b"something else", "export.malformed"),
        (state.read_bytes()[:-1], "export.truncated"),
        (b"cairn-state\n\x02\x00" + state.read_bytes()[14:], "export.version"),
    ]:
        broken.write_bytes(content)
        error = run(*start, str(broken), ok=False)["error"]
        assert error["code"] == code and error["cause"] and error["remedy"], error
    assert run(*start, str(state), "--seed", "other", ok=False)["error"]["code"] == "import.network"

    second = Devnet(new, "--import", str(state))
    try:
        assert get(second, "/v1/status")["fork"] == 1
        assert get(second, "/v1/status")["height"] > export["height"]
        (accounts_before, leases_before), now = before, accounts(second)
        assert now.keys() == accounts_before.keys()
        assert now["founder"] == accounts_before["founder"]
        for name, account in accounts_before.items():
            # Operators draw what they earned, and the gateway takes its leases over: both go on, neither starts anew.
            assert now[name]["nonce"] >= account["nonce"], name
            if name.startswith("op-"):
                assert int(now[name]["balance_pebbles"]) >= int(account["balance_pebbles"]) - 10**8, name
        assert {id: held(lease) for id, lease in leases(second).items()} == {
            id: held(lease) for id, lease in leases_before.items()
        }
        assert post(second, stale)["code"] == "tx.network"
        s3 = s3_client(second.ready)
        assert s3.get_object(Bucket="fork", Key="x")["Body"].read() == body
        s3.put_object(Bucket="fork", Key="y", Body=body)
    finally:
        second.stop()
