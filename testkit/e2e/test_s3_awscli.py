"""S3 through the aws command line, in its default configuration."""

import os
import random
import subprocess
import sys

import pytest


@pytest.fixture
def aws(devnet, tmp_path):
    """Runs `aws s3 ...` with a home of its own; answers standard output."""
    s3 = devnet["s3"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": s3["access_key"],
        "AWS_SECRET_ACCESS_KEY": s3["secret_key"],
        "AWS_DEFAULT_REGION": s3["region"],
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "PYTHONWARNINGS": "ignore",
    }

    def call(*arguments, stdin=None):
        command = [sys.executable, "-m", "awscli", "--endpoint-url", s3["endpoint"], "s3", *map(str, arguments)]
        feed = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=180, **feed)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    return call


def some_bytes(size, seed=7):
    return random.Random(seed).randbytes(size)


# 12 MB is above the size from which the client cuts an upload into parts.
@pytest.mark.parametrize("size", [0, 1234, 12_000_000])
def test_cp_up_and_down_gives_the_same_file(aws, bucket, tmp_path, size):
    there, back = tmp_path / "there.bin", tmp_path / "back.bin"
    there.write_bytes(some_bytes(size))
    aws("cp", there, f"s3://{bucket}/dir/there.bin")
    aws("cp", f"s3://{bucket}/dir/there.bin", back)
    assert back.read_bytes() == there.read_bytes()


def test_ls_shows_sizes_and_folders(aws, s3, bucket):
    s3.put_object(Bucket=bucket, Key="loaf", Body=b"x" * 321)
    s3.put_object(Bucket=bucket, Key="rolls/one", Body=b"")
    lines = [line.split() for line in aws("ls", f"s3://{bucket}").decode().splitlines()]
    assert ["PRE", "rolls/"] in lines
    assert any(line[-2:] == ["321", "loaf"] for line in lines)
    assert bucket in aws("ls").decode()


def test_sync_moves_only_what_changed_and_deletes_when_told(aws, s3, bucket, tmp_path):
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "a.txt").write_bytes(b"a")
    (here / "sub" / "b \u00e9.txt").write_bytes(some_bytes(70_000))
    for file in (here / "a.txt", here / "sub" / "b \u00e9.txt"):
        # S3 dates have whole seconds: a file of this very second could look newer than its copy.
        os.utime(file, (1_000_000_000, 1_000_000_000))
    first = aws("sync", here, f"s3://{bucket}/tree").decode()
    assert first.count("upload:") == 2
    assert "upload:" not in aws("sync", here, f"s3://{bucket}/tree").decode()

    there = tmp_path / "there"
    aws("sync", f"s3://{bucket}/tree", there)
    assert (there / "a.txt").read_bytes() == b"a"
    assert (there / "sub" / "b \u00e9.txt").read_bytes() == some_bytes(70_000)

    (here / "a.txt").unlink()
    aws("sync", "--delete", here, f"s3://{bucket}/tree")
    listed = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == ["tree/sub/b \u00e9.txt"]


def test_rm_removes_one_and_then_all(aws, s3, bucket):
    for name in ("x/1", "x/2", "y"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"1")
    aws("rm", f"s3://{bucket}/x/1")
    assert [f["Key"] for f in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["x/2", "y"]
    aws("rm", "--recursive", f"s3://{bucket}/x")
    assert [f["Key"] for f in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["y"]


def test_a_stream_of_unknown_length_is_stored_whole(aws, bucket):
    body = some_bytes(9_000_001)
    aws("cp", "-", f"s3://{bucket}/stream", stdin=body)
    assert aws("cp", f"s3://{bucket}/stream", "-") == body


def test_mv_leaves_no_copy_behind(aws, s3, bucket):
    s3.put_object(Bucket=bucket, Key="old", Body=b"moved")
    aws("mv", f"s3://{bucket}/old", f"s3://{bucket}/new")
    assert [f["Key"] for f in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["new"]


def test_a_bucket_is_made_and_removed(aws):
    aws("mb", "s3://e2e-cli-bucket")
    assert "e2e-cli-bucket" in aws("ls").decode()
    aws("rb", "s3://e2e-cli-bucket")
    assert "e2e-cli-bucket" not in aws("ls").decode()
