"""Canned access control lists, and who owns objects."""

import uuid

import pytest
from access import client_of, new_key, refused, revoke, send, stranger_of

GROUPS = "http://acs.amazonaws.com/groups/global/"


@pytest.fixture(scope="module")
def stranger(devnet):
    return stranger_of(devnet)


@pytest.fixture(scope="module")
def member(devnet):
    """A client whose key may do nothing by itself."""
    key = new_key(devnet, "member", "--allow", "none")
    yield client_of(devnet, key)
    revoke(devnet, key)


def grants(answer):
    """What groups are granted."""
    found = [g for g in answer["Grants"] if g["Grantee"]["Type"] == "Group"]
    return sorted((g["Grantee"]["URI"].removeprefix(GROUPS), g["Permission"]) for g in found)


def test_new_buckets_and_objects_are_private(s3, stranger, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for answer in (s3.get_bucket_acl(Bucket=bucket), s3.get_object_acl(Bucket=bucket, Key="k")):
        assert grants(answer) == []
        (own,) = answer["Grants"]
        assert own["Permission"] == "FULL_CONTROL" and own["Grantee"]["ID"] == answer["Owner"]["ID"]
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"


@pytest.mark.parametrize(
    ("acl", "shown"),
    [
        ("private", []),
        ("public-read", [("AllUsers", "READ")]),
        ("public-read-write", [("AllUsers", "READ"), ("AllUsers", "WRITE")]),
        ("authenticated-read", [("AuthenticatedUsers", "READ")]),
    ],
)
def test_a_list_of_a_bucket_is_shown_as_grants(s3, bucket, acl, shown):
    s3.put_bucket_acl(Bucket=bucket, ACL=acl)
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == shown


@pytest.mark.parametrize("acl", ["bucket-owner-read", "bucket-owner-full-control"])
def test_lists_about_the_owner_are_taken(s3, stranger, bucket, acl):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL=acl)
    assert grants(s3.get_object_acl(Bucket=bucket, Key="k")) == []
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_a_public_bucket_is_listed_and_its_objects_stay_private(s3, stranger, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert [o["Key"] for o in stranger.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert refused(stranger.put_object, Bucket=bucket, Key="n", Body=b"") == "AccessDenied"
    assert refused(stranger.get_object, Bucket=bucket, Key="none") == "NoSuchKey"


def test_a_public_object_is_read_by_everybody(s3, devnet, stranger, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"bread", ACL="public-read")
    assert stranger.get_object(Bucket=bucket, Key="k")["Body"].read() == b"bread"
    assert send(devnet, "GET", f"/{bucket}/k").data == b"bread"
    assert send(devnet, "GET", f"/{bucket}/k", headers={"range": "bytes=1-2"}).data == b"re"
    assert refused(stranger.put_object, Bucket=bucket, Key="k", Body=b"") == "AccessDenied"
    assert refused(stranger.delete_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert refused(stranger.get_object_acl, Bucket=bucket, Key="k") == "AccessDenied"


def test_an_object_for_members_is_read_with_any_key(s3, stranger, member, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="authenticated-read")
    assert refused(member.get_object, Bucket=bucket, Key="k") is None
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_a_bucket_open_for_writing_takes_from_everybody_and_deletes_for_nobody(s3, stranger, bucket):
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    stranger.put_object(Bucket=bucket, Key="gift", Body=b"y")
    assert s3.get_object(Bucket=bucket, Key="gift")["Body"].read() == b"y"
    assert refused(stranger.delete_object, Bucket=bucket, Key="gift") == "AccessDenied"
    assert refused(stranger.get_object, Bucket=bucket, Key="gift") == "AccessDenied"
    assert refused(stranger.put_bucket_acl, Bucket=bucket, ACL="private") == "AccessDenied"
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    assert refused(stranger.put_object, Bucket=bucket, Key="gift", Body=b"z") == "AccessDenied"


def test_the_list_of_an_object_changes_alone(s3, stranger, bucket):
    before = s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "b"})["ETag"]
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    assert grants(s3.get_object_acl(Bucket=bucket, Key="k")) == [("AllUsers", "READ")]
    got = stranger.get_object(Bucket=bucket, Key="k")
    assert (got["ETag"], got["Metadata"]) == (before, {"a": "b"})
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_overwriting_makes_private_again(s3, stranger, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="k", Body=b"y")
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_a_copy_does_not_inherit_the_list(s3, stranger, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(Bucket=bucket, Key="shut", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="open", CopySource=source, ACL="public-read")
    assert refused(stranger.get_object, Bucket=bucket, Key="shut") == "AccessDenied"
    assert refused(stranger.get_object, Bucket=bucket, Key="open") is None


def test_an_upload_in_parts_carries_its_list(s3, stranger, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", ACL="public-read")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert stranger.get_object(Bucket=bucket, Key="m")["Body"].read() == b"part"


def test_a_bucket_is_made_with_a_list(s3, stranger):
    name = f"e2e-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=name, ACL="public-read")
    try:
        assert refused(stranger.list_objects_v2, Bucket=name) is None
    finally:
        s3.delete_bucket(Bucket=name)


def test_what_was_read_can_be_put_back(s3, bucket):
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    found = s3.get_bucket_acl(Bucket=bucket)
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Grants": found["Grants"], "Owner": found["Owner"]})
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == [("AllUsers", "READ")]


def test_grants_to_single_grantees_are_not_implemented(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert refused(s3.put_object_acl, Bucket=bucket, Key="k", GrantRead='id="someone"') == "NotImplemented"
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", GrantRead='id="x"') == "NotImplemented"
    found = s3.get_bucket_acl(Bucket=bucket)
    odd = {"Grantee": {"Type": "Group", "URI": GROUPS + "AllUsers"}, "Permission": "READ_ACP"}
    policy = {"Grants": [*found["Grants"], odd], "Owner": found["Owner"]}
    assert refused(s3.put_bucket_acl, Bucket=bucket, AccessControlPolicy=policy) == "NotImplemented"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_an_unknown_list_is_refused(s3, bucket):
    assert refused(s3.put_bucket_acl, Bucket=bucket, ACL="public-everything") == "InvalidArgument"
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", ACL="aws-exec-read") == "NotImplemented"


def test_ownership_comes_back_and_goes(s3, bucket):
    assert refused(s3.get_bucket_ownership_controls, Bucket=bucket) == "OwnershipControlsNotFoundError"
    for kind in ("ObjectWriter", "BucketOwnerPreferred", "BucketOwnerEnforced"):
        rules = {"Rules": [{"ObjectOwnership": kind}]}
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=rules)
        assert s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"] == rules
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    assert refused(s3.get_bucket_ownership_controls, Bucket=bucket) == "OwnershipControlsNotFoundError"


def test_enforced_ownership_turns_lists_off(s3, stranger, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    not_here = "AccessControlListNotSupported"
    assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"", ACL="public-read") == not_here
    assert refused(s3.put_object_acl, Bucket=bucket, Key="k", ACL="public-read") == not_here
    assert refused(s3.put_bucket_acl, Bucket=bucket, ACL="public-read") == not_here
    assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"", ACL="bucket-owner-full-control") is None


def test_a_public_bucket_must_be_closed_before_ownership_is_enforced(s3, bucket):
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    code = refused(s3.put_bucket_ownership_controls, Bucket=bucket, OwnershipControls=rules)
    assert code == "InvalidBucketAclWithObjectOwnership"


def test_blocked_lists_are_refused_and_ignored_ones_open_nothing(s3, stranger, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    s3.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": True, "IgnorePublicAcls": True}
    )
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"", ACL="public-read") == "AccessDenied"
    assert refused(s3.put_object_acl, Bucket=bucket, Key="k", ACL="public-read-write") == "AccessDenied"
    assert refused(s3.put_bucket_acl, Bucket=bucket, ACL="public-read") == "AccessDenied"
    assert refused(s3.put_bucket_acl, Bucket=bucket, ACL="private") is None
    s3.delete_public_access_block(Bucket=bucket)
    assert refused(stranger.get_object, Bucket=bucket, Key="k") is None
