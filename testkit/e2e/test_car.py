"""Content addressing: the same roots as another implementation, files both ways, and the gateway that nobody trusts."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from conftest import s3_client
from test_faults import cairn

MIB = 1 << 20
# Pinned: their output is compared byte for byte.
TOOL = "ipfs-car@3.1.0"


@pytest.fixture
def net(devnet):
    """The devnet as `cairn` wants it."""
    return SimpleNamespace(ready=devnet)


@pytest.fixture(scope="module")
def ipfs_car(tmp_path_factory):
    """`ipfs-car` of npm, the reference implementation of its makers."""
    if not shutil.which("npm"):
        pytest.fail("npm is missing: install Node.js, then run again")
    home = tmp_path_factory.mktemp("npm")
    subprocess.run(["npm", "init", "-y"], cwd=home, check=True, capture_output=True)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", TOOL]
    subprocess.run(install, cwd=home, check=True, capture_output=True, timeout=300)

    def run(*words):
        command = [str(home / "node_modules/.bin/ipfs-car"), *map(str, words)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    return run


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Files of every class: empty, small, one leaf to the byte, several leaves."""
    root = tmp_path_factory.mktemp("tree") / "t"
    files = {"empty": b"", "a/small.txt": b"hello\n", "a/b/leaf": os.urandom(MIB), "large": os.urandom(3 * MIB + 17)}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root, files


def fetch(net, path, **headers):
    url = f"{net.ready['s3']['endpoint']}/ipfs/{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_directories_have_the_same_root_both_ways(net, bucket, ipfs_car, tree, tmp_path):
    root, files = tree
    s3 = s3_client(net.ready)
    for name, data in files.items():
        s3.put_object(Bucket=bucket, Key=f"in/{name}", Body=data)
    ours, theirs = tmp_path / "ours.car", tmp_path / "theirs.car"
    made = cairn(net, "storage", "car", "export", f"s3://{bucket}/in/", str(ours))
    ipfs_car("pack", root, "--no-wrap", "--output", theirs)
    assert ipfs_car("roots", theirs).split() == [made["root"]] == ipfs_car("roots", ours).split()
    assert sorted(ipfs_car("blocks", ours).split()) == sorted(ipfs_car("blocks", theirs).split())

    ipfs_car("unpack", ours, "--output", tmp_path / "unpacked")
    for name, data in files.items():
        assert (tmp_path / "unpacked" / name).read_bytes() == data, name
    stored = cairn(net, "storage", "car", "import", str(theirs), f"s3://{bucket}/out")
    assert (stored["root"], stored["objects"]) == (made["root"], len(files))
    for name, data in files.items():
        assert s3.get_object(Bucket=bucket, Key=f"out/{name}")["Body"].read() == data, name


def test_a_forged_block_stores_nothing(net, bucket, ipfs_car, tree, tmp_path):
    root, _ = tree
    good, bad = tmp_path / "good.car", tmp_path / "bad.car"
    ipfs_car("pack", root, "--no-wrap", "--output", good)
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    command = [os.environ["CAIRN_BIN"], "--api", net.ready["api"], "--json", "storage", "car", "import"]
    done = subprocess.run([*command, str(bad), f"s3://{bucket}/bad"], capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["code"] == "car.mismatch", done.stdout
    assert "Contents" not in s3_client(net.ready).list_objects_v2(Bucket=bucket)
    told = cairn(net, "storage", "car", "import", str(good), f"s3://{bucket}/good", "--dry-run")
    assert told["objects"] == 4 and told["cost"]["at_rest_micro_usd"]
    assert "Contents" not in s3_client(net.ready).list_objects_v2(Bucket=bucket)


def test_what_is_published_is_fetched_by_cid_and_nothing_else(net, bucket, ipfs_car, tree, tmp_path):
    _, files = tree
    s3 = s3_client(net.ready)
    for name, data in files.items():
        s3.put_object(Bucket=bucket, Key=f"pub/{name}", Body=data)
    car = tmp_path / "export.car"
    root = cairn(net, "storage", "car", "export", f"s3://{bucket}/pub/", str(car))["root"]
    assert fetch(net, f"{root}?format=car")[0] == 404, "not published yet"
    assert cairn(net, "storage", "publish", f"s3://{bucket}/pub/")["root"] == root

    status, headers, body = fetch(net, f"{root}?format=car")
    assert status == 200 and headers["Content-Type"].startswith("application/vnd.ipld.car; version=1")
    (tmp_path / "got.car").write_bytes(body)
    ipfs_car("unpack", tmp_path / "got.car", "--output", tmp_path / "got")
    for name, data in files.items():
        assert (tmp_path / "got" / name).read_bytes() == data, name

    for cid in ipfs_car("blocks", car).split():
        status, headers, block = fetch(net, cid, Accept="application/vnd.ipld.raw")
        assert status == 200 and headers["Etag"] == f'"{cid}.raw"' and headers["X-Ipfs-Path"] == f"/ipfs/{cid}", cid
        assert len(block) <= 2 * MIB
    assert fetch(net, f"{root}/a/small.txt?format=car&dag-scope=block")[0] == 200
    assert fetch(net, f"{root}/a/none?format=car")[0] == 404
    assert fetch(net, root, Accept="text/html")[0] == 406
    assert fetch(net, "nonsense?format=raw")[0] == 400
    assert fetch(net, "bafkqaaa?format=raw")[0] == 200

    s3.put_object(Bucket=bucket, Key="pub/large", Body=b"other")
    assert fetch(net, f"{root}?format=car")[0] == 410
    cairn(net, "storage", "rm", f"s3://cairn-ipfs/{root}")
    assert fetch(net, f"{root}?format=car")[0] == 404
