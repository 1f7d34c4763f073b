"""Access keys with limits: what each may do, where, until when."""

import time

import pytest
from access import OWNER, client_of, new_key, refused, revoke, run


@pytest.fixture(scope="module")
def reader(devnet):
    key = new_key(devnet, "reader", "--read-only")
    yield client_of(devnet, key)
    revoke(devnet, key)


@pytest.fixture
def scoped(devnet, bucket):
    """A client whose key may do everything usual below `in/` of the bucket."""
    key = new_key(devnet, "scoped", "--bucket", f"{bucket}/in/")
    yield client_of(devnet, key)
    revoke(devnet, key)


def test_a_secret_is_shown_once_and_never_listed(devnet):
    made = new_key(devnet, "once", "--read-only")
    assert len(made["secret_key"]) == 40 and made["may"] == "read, list"
    _, listed = run(devnet, "storage", "key", "ls")
    assert made["access_key"] in str(listed)
    assert made["secret_key"] not in str(listed) and "secret" not in str(listed)
    revoke(devnet, made)


def test_the_first_key_may_do_everything_and_cannot_be_revoked(devnet):
    first = devnet["s3"]["access_key"]
    _, listed = run(devnet, "storage", "key", "ls")
    assert [k["may"] for k in listed["keys"] if k["access_key"] == first] == ["everything"]
    code, answer = run(devnet, "storage", "key", "revoke", first)
    assert code == 1 and answer["error"]["code"] == "storage.key", answer


def test_a_reader_reads_and_lists(s3, reader, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert reader.head_object(Bucket=bucket, Key="k")["ContentLength"] == 1
    assert [o["Key"] for o in reader.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    assert bucket in [b["Name"] for b in reader.list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("put_object", {"Key": "k", "Body": b"y"}),
        ("delete_object", {"Key": "k"}),
        ("create_multipart_upload", {"Key": "k"}),
        ("copy_object", {"Key": "c", "CopySource": {"Bucket": "BUCKET", "Key": "k"}}),
        ("delete_bucket", {}),
        ("put_bucket_policy", {"Policy": "{}"}),
        ("get_bucket_policy", {}),
        ("put_bucket_acl", {"ACL": "public-read"}),
        ("put_object_acl", {"Key": "k", "ACL": "public-read"}),
        ("get_bucket_logging", {}),
    ],
)
def test_a_reader_changes_nothing(s3, reader, bucket, call, arguments):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    if "CopySource" in arguments:
        arguments = {**arguments, "CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refused(getattr(reader, call), Bucket=bucket, **arguments) == "AccessDenied"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_a_reader_makes_no_bucket(reader):
    assert refused(reader.create_bucket, Bucket="e2e-not-made") == "AccessDenied"


def test_a_reader_deletes_none_of_many(s3, reader, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    answer = reader.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})
    assert [e["Code"] for e in answer["Errors"]] == ["AccessDenied"]
    s3.head_object(Bucket=bucket, Key="k")


def test_a_prefix_is_a_border_for_objects(s3, scoped, bucket):
    scoped.put_object(Bucket=bucket, Key="in/a", Body=b"1")
    assert scoped.get_object(Bucket=bucket, Key="in/a")["Body"].read() == b"1"
    s3.put_object(Bucket=bucket, Key="out", Body=b"2")
    for call, more in (("get_object", {}), ("head_object", {}), ("put_object", {"Body": b""}), ("delete_object", {})):
        assert refused(getattr(scoped, call), Bucket=bucket, Key="out", **more) in ("AccessDenied", "403"), call
    assert refused(scoped.get_object, Bucket=bucket, Key="in") == "AccessDenied"


def test_a_prefix_is_a_border_for_lists(s3, scoped, bucket):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"1")
    listed = scoped.list_objects_v2(Bucket=bucket, Prefix="in/")
    assert [o["Key"] for o in listed["Contents"]] == ["in/a"]
    assert refused(scoped.list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert refused(scoped.list_objects_v2, Bucket=bucket, Prefix="i") == "AccessDenied"
    scoped.head_bucket(Bucket=bucket)


def test_a_prefix_is_a_border_for_copies(s3, scoped, bucket):
    s3.put_object(Bucket=bucket, Key="secret", Body=b"s")
    source = {"Bucket": bucket, "Key": "secret"}
    assert refused(scoped.copy_object, Bucket=bucket, Key="in/c", CopySource=source) == "AccessDenied"
    upload = scoped.create_multipart_upload(Bucket=bucket, Key="in/m")["UploadId"]
    assert (
        refused(
            scoped.upload_part_copy, Bucket=bucket, Key="in/m", UploadId=upload, PartNumber=1, CopySource=source
        )
        == "AccessDenied"
    )
    scoped.abort_multipart_upload(Bucket=bucket, Key="in/m", UploadId=upload)


def test_a_prefix_is_a_border_for_deletions_of_many(s3, scoped, bucket):
    for key in ("in/a", "out"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    answer = scoped.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "in/a"}, {"Key": "out"}]})
    assert [d["Key"] for d in answer["Deleted"]] == ["in/a"]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [("out", "AccessDenied")]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["out"]


def test_only_own_buckets_are_listed(scoped, bucket):
    assert [b["Name"] for b in scoped.list_buckets()["Buckets"]] == [bucket]


def test_another_bucket_is_closed(s3, scoped):
    s3.create_bucket(Bucket="e2e-closed")
    try:
        assert refused(scoped.list_objects_v2, Bucket="e2e-closed", Prefix="in/") == "AccessDenied"
        assert refused(scoped.put_object, Bucket="e2e-closed", Key="in/x", Body=b"") == "AccessDenied"
        assert refused(scoped.head_bucket, Bucket="e2e-closed") == "403"
    finally:
        s3.delete_bucket(Bucket="e2e-closed")


def test_writing_and_deleting_are_two_rights(devnet, bucket):
    key = new_key(devnet, "drop", "--allow", "write", "--bucket", bucket)
    writer = client_of(devnet, key)
    writer.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert refused(writer.delete_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert refused(writer.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert refused(writer.list_objects_v2, Bucket=bucket) == "AccessDenied"
    revoke(devnet, key)


def test_a_manager_sets_and_does_not_read(s3, devnet, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    key = new_key(devnet, "manager", "--allow", "manage", "--bucket", bucket)
    manager = client_of(devnet, key)
    manager.put_bucket_acl(Bucket=bucket, ACL="private")
    assert refused(manager.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    revoke(devnet, key)


def test_a_revoked_key_is_not_known(devnet, bucket):
    key = new_key(devnet, "gone")
    client = client_of(devnet, key)
    client.list_objects_v2(Bucket=bucket)
    revoke(devnet, key)
    assert refused(client.list_objects_v2, Bucket=bucket) == "InvalidAccessKeyId"
    code, answer = run(devnet, "storage", "key", "revoke", key["access_key"])
    assert code == 1 and "no access key" in answer["error"]["cause"]


def test_a_key_ends_when_it_said(devnet, bucket):
    client = client_of(devnet, new_key(devnet, "brief", "--expires", "1s"))
    deadline = time.monotonic() + 20
    while (code := refused(client.list_objects_v2, Bucket=bucket)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert code == "ExpiredToken"


def test_a_wrong_secret_is_a_wrong_signature(devnet, bucket):
    key = new_key(devnet, "typo")
    wrong = client_of(devnet, {**key, "secret_key": key["secret_key"][::-1]})
    assert refused(wrong.list_objects_v2, Bucket=bucket) == "SignatureDoesNotMatch"
    revoke(devnet, key)


def test_a_quota_is_kept_and_freed_by_deleting(devnet, bucket):
    key = new_key(devnet, "frugal", "--bucket", bucket, "--quota", "10kB")
    client = client_of(devnet, key)
    client.put_object(Bucket=bucket, Key="a", Body=bytes(6000))
    assert refused(client.put_object, Bucket=bucket, Key="b", Body=bytes(6000)) == "QuotaExceeded"
    source = {"Bucket": bucket, "Key": "a"}
    assert refused(client.copy_object, Bucket=bucket, Key="c", CopySource=source) == "QuotaExceeded"
    client.delete_object(Bucket=bucket, Key="a")
    client.put_object(Bucket=bucket, Key="b", Body=bytes(6000))
    revoke(devnet, key)


@pytest.mark.parametrize("name", ["root", "a b", "a/b", "x" * 65])
def test_names_that_no_key_can_have(devnet, name):
    code, answer = run(devnet, "storage", "key", "new", "--name", name)
    assert code == 1 and answer["error"]["code"] == "storage.key", answer


def test_an_expected_owner_is_checked(s3, bucket):
    s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner=OWNER)
    assert refused(s3.list_objects_v2, Bucket=bucket, ExpectedBucketOwner="123456789012") == "AccessDenied"
