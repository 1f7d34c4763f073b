"""The tools that people move backups with, as their makers ship them: rclone, restic, s3cmd, s5cmd, minio-py.

Each does a day's work: copy a tree, change it, copy again, compare byte for byte, delete.
"""

import filecmp
import io
import os
import random
import shutil
import subprocess
import uuid
from datetime import timedelta

import minio
import pytest
import urllib3
from minio.commonconfig import ComposeSource, CopySource
from minio.deleteobjects import DeleteObject

FILES = 10_000


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed; `cargo xtask e2e` installs it where it may")
    return found


def tree(root, count, seed):
    """A directory of mixed files: many small, some empty, a few large, names that need escaping."""
    chance = random.Random(seed)
    names = ["plain", "with space", "ümlaut", "plus+sign", "percent%41", "quote'", "comma,semi;", "equals=&"]
    for i in range(count):
        folder = root / f"d{i % 40}" / f"e{i % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        size = 0 if i % 97 == 0 else chance.randint(1, 6_000)
        if i % 1_999 == 1:
            size = chance.randint(5 << 20, 9 << 20)
        (folder / f"{names[i % len(names)]}-{i}").write_bytes(chance.randbytes(size))
    return root


def same_tree(one, other):
    """Both directories hold the same files with the same bytes."""

    def listing(root):
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())

    names = listing(one)
    assert names == listing(other)
    _, differing, unreadable = filecmp.cmpfiles(one, other, names, shallow=False)
    assert (differing, unreadable) == ([], [])
    return len(names)


@pytest.fixture
def tool(devnet, tmp_path):
    """Runs a program with the endpoint in its environment and a home of its own; answers standard output."""
    s3 = devnet["s3"]
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))},
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": s3["access_key"],
        "AWS_SECRET_ACCESS_KEY": s3["secret_key"],
        "AWS_DEFAULT_REGION": s3["region"],
        "AWS_REGION": s3["region"],
        "RCLONE_CONFIG": str(home / "rclone.conf"),
        "RCLONE_CONFIG_CAIRN_TYPE": "s3",
        "RCLONE_CONFIG_CAIRN_PROVIDER": "Other",
        "RCLONE_CONFIG_CAIRN_ACCESS_KEY_ID": s3["access_key"],
        "RCLONE_CONFIG_CAIRN_SECRET_ACCESS_KEY": s3["secret_key"],
        "RCLONE_CONFIG_CAIRN_ENDPOINT": s3["endpoint"],
        "RCLONE_CONFIG_CAIRN_REGION": s3["region"],
        "RESTIC_PASSWORD": "worthless",
        "RESTIC_CACHE_DIR": str(home / "cache"),
    }

    def call(name, *arguments, ok=True):
        done = subprocess.run(
            [program(name), *map(str, arguments)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
        )
        said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        assert (done.returncode == 0) == ok, f"{name} {arguments}: code {done.returncode}\n{said[-4000:]}"
        return done.stdout.decode(errors="replace")

    return call


@pytest.fixture
def fresh(s3):
    """The name of a bucket that does not exist yet; whatever is in it afterwards is removed."""
    name = f"tool-{uuid.uuid4().hex[:16]}"
    yield name
    if name not in [b["Name"] for b in s3.list_buckets()["Buckets"]]:
        return
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        found = [{"Key": o["Key"]} for o in page.get("Contents", [])]
        if found:
            s3.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True})
    s3.delete_bucket(Bucket=name)


# rclone


def test_rclone_syncs_ten_thousand_files_and_every_byte_is_compared(tool, fresh, tmp_path):
    there = tree(tmp_path / "there", FILES, seed=1)
    quick = ["--transfers", "16", "--checkers", "16", "--s3-upload-cutoff", "6Mi", "--s3-chunk-size", "5Mi"]
    tool("rclone", "mkdir", f"cairn:{fresh}")
    tool("rclone", "sync", there, f"cairn:{fresh}/tree", *quick)
    tool("rclone", "check", "--download", there, f"cairn:{fresh}/tree", *quick)
    assert int(tool("rclone", "size", "--json", f"cairn:{fresh}").split('"count":')[1].split(",")[0]) == FILES


def test_rclone_sync_moves_changes_only_and_deletes_what_is_gone(tool, fresh, tmp_path):
    there, back = tree(tmp_path / "there", 120, seed=2), tmp_path / "back"
    tool("rclone", "mkdir", f"cairn:{fresh}")
    tool("rclone", "sync", there, f"cairn:{fresh}/t")
    (there / "d1/e1").joinpath("new").write_bytes(b"new")
    shutil.rmtree(there / "d2")
    tool("rclone", "sync", there, f"cairn:{fresh}/t")
    tool("rclone", "sync", f"cairn:{fresh}/t", back)
    same_tree(there, back)


def test_rclone_server_side_move_and_cat(tool, fresh, tmp_path):
    (tmp_path / "a").write_bytes(b"some bytes")
    tool("rclone", "mkdir", f"cairn:{fresh}")
    tool("rclone", "copyto", tmp_path / "a", f"cairn:{fresh}/a")
    tool("rclone", "moveto", f"cairn:{fresh}/a", f"cairn:{fresh}/dir/b")
    assert tool("rclone", "cat", f"cairn:{fresh}/dir/b") == "some bytes"
    assert sorted(tool("rclone", "lsf", "-R", f"cairn:{fresh}").split()) == ["dir/", "dir/b"]
    assert tool("rclone", "cat", "--offset", "5", "--count", "3", f"cairn:{fresh}/dir/b") == "byt"


def test_rclone_keeps_the_time_of_a_file(tool, fresh, tmp_path):
    file = tmp_path / "old"
    file.write_bytes(b"old")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    tool("rclone", "mkdir", f"cairn:{fresh}")
    tool("rclone", "copy", file, f"cairn:{fresh}")
    tool("rclone", "copy", f"cairn:{fresh}/old", tmp_path / "back")
    assert (tmp_path / "back/old").stat().st_mtime == 1_000_000_000


# restic


def test_restic_backs_up_checks_prunes_and_restores(tool, devnet, s3, fresh, tmp_path):
    there, back = tree(tmp_path / "there", 250, seed=3), tmp_path / "back"
    repository = ["-r", f"s3:{devnet['s3']['endpoint']}/{fresh}/repo", "-o", "s3.bucket-lookup=path"]
    tool("restic", *repository, "init")
    tool("restic", *repository, "backup", there)
    (there / "d3/e3").joinpath("changed").write_bytes(b"changed")
    shutil.rmtree(there / "d4")
    tool("restic", *repository, "backup", there)
    assert tool("restic", *repository, "snapshots", "--json").count('"short_id"') == 2
    tool("restic", *repository, "forget", "--keep-last", "1", "--prune")
    tool("restic", *repository, "check", "--read-data")
    tool("restic", *repository, "restore", "latest", "--target", back)
    assert same_tree(there, back / str(there).lstrip("/")) > 200
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=fresh)["Contents"]]
    assert not [k for k in keys if "/locks/" in k], "a lock was left behind"


def test_restic_finds_a_pack_that_is_missing(tool, devnet, s3, fresh, tmp_path):
    there = tree(tmp_path / "there", 20, seed=4)
    repository = ["-r", f"s3:{devnet['s3']['endpoint']}/{fresh}", "-o", "s3.bucket-lookup=path"]
    tool("restic", *repository, "init")
    tool("restic", *repository, "backup", there)
    packs = s3.list_objects_v2(Bucket=fresh, Prefix="data/")["Contents"]
    s3.delete_object(Bucket=fresh, Key=packs[0]["Key"])
    tool("restic", *repository, "check", ok=False)


# s3cmd


@pytest.fixture
def s3cmd(tool, devnet, tmp_path):
    host = devnet["s3"]["endpoint"].removeprefix("http://")
    config = tmp_path / "s3cfg"
    lines = [
        "[default]",
        f"access_key = {devnet['s3']['access_key']}",
        f"secret_key = {devnet['s3']['secret_key']}",
        f"host_base = {host}",
        f"host_bucket = {host}",
        f"bucket_location = {devnet['s3']['region']}",
        "use_https = False",
        "signature_v2 = False",
        "multipart_chunk_size_mb = 5",
    ]
    config.write_text("\n".join(lines))
    return lambda *arguments, **more: tool("s3cmd", "-c", config, "--no-progress", *arguments, **more)


@pytest.mark.parametrize("size", [0, 777, 11 << 20])
def test_s3cmd_puts_and_gets(s3cmd, fresh, tmp_path, size):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(random.Random(size).randbytes(size))
    s3cmd("mb", f"s3://{fresh}")
    s3cmd("put", there, f"s3://{fresh}/x/there")
    s3cmd("get", f"s3://{fresh}/x/there", back)
    assert back.read_bytes() == there.read_bytes()


def test_s3cmd_syncs_both_ways_and_deletes(s3cmd, fresh, tmp_path):
    there, back = tree(tmp_path / "there", 60, seed=5), tmp_path / "back"
    back.mkdir()
    s3cmd("mb", f"s3://{fresh}")
    s3cmd("sync", f"{there}/", f"s3://{fresh}/t/")
    shutil.rmtree(there / "d1")
    s3cmd("sync", "--delete-removed", f"{there}/", f"s3://{fresh}/t/")
    s3cmd("sync", f"s3://{fresh}/t/", f"{back}/")
    same_tree(there, back)


def test_s3cmd_lists_moves_copies_and_tells_the_size(s3cmd, s3, fresh):
    s3cmd("mb", f"s3://{fresh}")
    s3.put_object(Bucket=fresh, Key="a/one", Body=b"1" * 100)
    s3cmd("cp", f"s3://{fresh}/a/one", f"s3://{fresh}/a/two")
    s3cmd("mv", f"s3://{fresh}/a/one", f"s3://{fresh}/b/three")
    assert [line.split()[-1] for line in s3cmd("ls", "-r", f"s3://{fresh}").splitlines()] == [
        f"s3://{fresh}/a/two",
        f"s3://{fresh}/b/three",
    ]
    assert s3cmd("du", f"s3://{fresh}").split()[0] == "200"
    assert "MD5 sum" in s3cmd("info", f"s3://{fresh}/a/two")
    s3cmd("rb", "--recursive", "--force", f"s3://{fresh}")
    s3cmd("ls", f"s3://{fresh}", ok=False)


# s5cmd


def test_s5cmd_copies_a_tree_in_parallel_and_back(tool, devnet, fresh, tmp_path):
    there, back = tree(tmp_path / "there", 200, seed=6), tmp_path / "back"
    end = ["--endpoint-url", devnet["s3"]["endpoint"]]
    tool("s5cmd", *end, "mb", f"s3://{fresh}")
    tool("s5cmd", *end, "cp", f"{there}/", f"s3://{fresh}/t/")
    tool("s5cmd", *end, "cp", f"s3://{fresh}/t/*", f"{back}/")
    assert same_tree(there, back) == 200
    assert "200 objects" in tool("s5cmd", *end, "du", f"s3://{fresh}/*")


def test_s5cmd_removes_by_pattern_and_cats(tool, devnet, s3, fresh):
    end = ["--endpoint-url", devnet["s3"]["endpoint"]]
    tool("s5cmd", *end, "mb", f"s3://{fresh}")
    for key in ["a/1.log", "a/2.log", "a/keep.txt"]:
        s3.put_object(Bucket=fresh, Key=key, Body=key.encode())
    tool("s5cmd", *end, "rm", f"s3://{fresh}/a/*.log")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=fresh)["Contents"]] == ["a/keep.txt"]
    assert tool("s5cmd", *end, "cat", f"s3://{fresh}/a/keep.txt") == "a/keep.txt"


def test_s5cmd_syncs_and_deletes(tool, devnet, fresh, tmp_path):
    there, back = tree(tmp_path / "there", 50, seed=7), tmp_path / "back"
    end = ["--endpoint-url", devnet["s3"]["endpoint"]]
    tool("s5cmd", *end, "mb", f"s3://{fresh}")
    tool("s5cmd", *end, "sync", f"{there}/", f"s3://{fresh}/t/")
    shutil.rmtree(there / "d1")
    tool("s5cmd", *end, "sync", "--delete", f"{there}/", f"s3://{fresh}/t/")
    tool("s5cmd", *end, "sync", f"s3://{fresh}/t/*", f"{back}/")
    same_tree(there, back)


# minio-py


@pytest.fixture
def mc(devnet, fresh):
    s3 = devnet["s3"]
    client = minio.Minio(
        endpoint=s3["endpoint"].removeprefix("http://"),
        access_key=s3["access_key"],
        secret_key=s3["secret_key"],
        region=s3["region"],
        secure=False,
        http_client=urllib3.PoolManager(timeout=60, retries=False),
    )
    client.make_bucket(bucket_name=fresh)
    return client


@pytest.mark.parametrize("size", [0, 4096, 11 << 20])
def test_minio_puts_stats_and_gets(mc, fresh, size):
    data = random.Random(size).randbytes(size)
    put = mc.put_object(
        bucket_name=fresh, object_name="o", data=io.BytesIO(data), length=size, part_size=5 << 20, metadata={"a": "b"}
    )
    stat = mc.stat_object(bucket_name=fresh, object_name="o")
    assert (stat.size, stat.etag) == (size, put.etag)
    assert stat.metadata["x-amz-meta-a"] == "b"
    with mc.get_object(bucket_name=fresh, object_name="o") as answer:
        assert answer.read() == data


def test_minio_puts_a_stream_of_unknown_length(mc, fresh):
    data = random.Random(1).randbytes(12 << 20)
    mc.put_object(bucket_name=fresh, object_name="s", data=io.BytesIO(data), length=-1, part_size=5 << 20)
    with mc.get_object(bucket_name=fresh, object_name="s", offset=6 << 20, length=1000) as answer:
        assert answer.read() == data[6 << 20 : (6 << 20) + 1000]


def test_minio_lists_with_and_without_folders(mc, fresh):
    for name in ["a/1", "a/2", "b", "c/d/e"]:
        mc.put_object(bucket_name=fresh, object_name=name, data=io.BytesIO(b"x"), length=1)
    flat = [o.object_name for o in mc.list_objects(bucket_name=fresh, recursive=True)]
    assert flat == ["a/1", "a/2", "b", "c/d/e"]
    assert [o.object_name for o in mc.list_objects(bucket_name=fresh)] == ["b", "a/", "c/"]
    assert [o.object_name for o in mc.list_objects(bucket_name=fresh, prefix="a/", start_after="a/1")] == ["a/2"]


def test_minio_copies_and_composes(mc, fresh):
    part = random.Random(2).randbytes(5 << 20)
    mc.put_object(bucket_name=fresh, object_name="one", data=io.BytesIO(part), length=len(part))
    mc.put_object(bucket_name=fresh, object_name="two", data=io.BytesIO(b"tail"), length=4)
    mc.copy_object(
        bucket_name=fresh, object_name="three", source=CopySource(bucket_name=fresh, object_name="two")
    )
    sources = [ComposeSource(bucket_name=fresh, object_name=name) for name in ["one", "three"]]
    mc.compose_object(bucket_name=fresh, object_name="whole", sources=sources)
    with mc.get_object(bucket_name=fresh, object_name="whole") as answer:
        assert answer.read() == part + b"tail"


def test_minio_removes_many_at_once(mc, fresh):
    for i in range(20):
        mc.put_object(bucket_name=fresh, object_name=f"k{i}", data=io.BytesIO(b"x"), length=1)
    gone = [DeleteObject(name=f"k{i}") for i in range(20)] + [DeleteObject(name="never-there")]
    assert list(mc.remove_objects(bucket_name=fresh, delete_object_list=gone)) == []
    assert list(mc.list_objects(bucket_name=fresh, recursive=True)) == []


def test_minio_presigned_links_work_without_keys_and_expire_in_time(mc, fresh):
    http = urllib3.PoolManager(timeout=30, retries=False)
    up = mc.get_presigned_url(
        method="PUT", bucket_name=fresh, object_name="p", expires=timedelta(minutes=5)
    )
    assert http.request("PUT", up, body=b"through a link").status == 200
    down = mc.get_presigned_url(
        method="GET", bucket_name=fresh, object_name="p", expires=timedelta(minutes=5)
    )
    answer = http.request("GET", down)
    assert (answer.status, answer.data) == (200, b"through a link")
    forged = down[:-1] + ("0" if down[-1] != "0" else "1")
    assert http.request("GET", forged).status == 403
