"""Bucket policies: who gets in through them, and who does not."""

import json

import pytest
from access import OWNER, client_of, new_key, put_policy, refused, revoke, send, statement, stranger_of, user


@pytest.fixture(scope="module")
def stranger(devnet):
    return stranger_of(devnet)


@pytest.fixture(scope="module")
def ann(devnet):
    """A client whose key may do only what policies open to it."""
    key = new_key(devnet, "ann", "--allow", "none")
    yield client_of(devnet, key)
    revoke(devnet, key)


@pytest.fixture
def full(s3, bucket):
    """The bucket with two objects."""
    for key in ("open/a", "shut/b"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    yield bucket
    s3.delete_bucket_policy(Bucket=bucket)


def test_without_a_policy_strangers_get_nothing(stranger, full):
    assert refused(stranger.get_object, Bucket=full, Key="open/a") == "AccessDenied"
    assert refused(stranger.list_objects_v2, Bucket=full) == "AccessDenied"
    assert refused(stranger.put_object, Bucket=full, Key="x", Body=b"") == "AccessDenied"
    assert refused(stranger.list_buckets) == "AccessDenied"


def test_a_bucket_without_policy_says_so(s3, bucket):
    assert refused(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"
    assert refused(s3.get_bucket_policy_status, Bucket=bucket) == "NoSuchBucketPolicy"
    s3.delete_bucket_policy(Bucket=bucket)


def test_a_policy_comes_back_as_it_went(s3, bucket):
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement(bucket, Sid="x")]}, indent=3)
    s3.put_bucket_policy(Bucket=bucket, Policy=text)
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == text
    s3.delete_bucket_policy(Bucket=bucket)
    assert refused(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


def test_an_allowed_prefix_is_open_and_the_rest_is_not(s3, stranger, full):
    put_policy(s3, full, statement(full, Resource=f"arn:aws:s3:::{full}/open/*"))
    assert stranger.get_object(Bucket=full, Key="open/a")["Body"].read() == b"open/a"
    assert refused(stranger.get_object, Bucket=full, Key="shut/b") == "AccessDenied"
    assert refused(stranger.put_object, Bucket=full, Key="open/a", Body=b"") == "AccessDenied"
    assert refused(stranger.list_objects_v2, Bucket=full) == "AccessDenied"


def test_a_policy_that_is_gone_opens_nothing(s3, stranger, full):
    put_policy(s3, full, statement(full))
    assert refused(stranger.get_object, Bucket=full, Key="open/a") is None
    s3.delete_bucket_policy(Bucket=full)
    assert refused(stranger.get_object, Bucket=full, Key="open/a") == "AccessDenied"


def test_a_denial_wins_over_a_permission(s3, stranger, full):
    put_policy(s3, full, statement(full), statement(full, Effect="Deny", Resource=f"arn:aws:s3:::{full}/shut/*"))
    assert refused(stranger.get_object, Bucket=full, Key="open/a") is None
    assert refused(stranger.get_object, Bucket=full, Key="shut/b") == "AccessDenied"


def test_a_denial_holds_for_the_owner_who_can_still_take_it_back(s3, full):
    everything = statement(full, Effect="Deny", Action="s3:*", Resource=[f"arn:aws:s3:::{full}", f"arn:aws:s3:::{full}/*"])
    put_policy(s3, full, everything)
    assert refused(s3.get_object, Bucket=full, Key="open/a") == "AccessDenied"
    assert refused(s3.list_objects_v2, Bucket=full) == "AccessDenied"
    assert "Deny" in s3.get_bucket_policy(Bucket=full)["Policy"]
    s3.delete_bucket_policy(Bucket=full)
    assert refused(s3.get_object, Bucket=full, Key="open/a") is None


def test_a_named_user_gets_in_and_others_do_not(s3, stranger, ann, full):
    assert refused(ann.get_object, Bucket=full, Key="open/a") == "AccessDenied"
    put_policy(s3, full, statement(full, Principal=user("ann")))
    assert refused(ann.get_object, Bucket=full, Key="open/a") is None
    assert refused(stranger.get_object, Bucket=full, Key="open/a") == "AccessDenied"
    put_policy(s3, full, statement(full, Principal=user("bob")))
    assert refused(ann.get_object, Bucket=full, Key="open/a") == "AccessDenied"


def test_everybody_but_one_is_denied(s3, stranger, ann, full):
    deny = statement(full, Effect="Deny", Principal=None, NotPrincipal=user("ann"))
    put_policy(s3, full, statement(full), deny)
    assert refused(ann.get_object, Bucket=full, Key="open/a") is None
    assert refused(stranger.get_object, Bucket=full, Key="open/a") == "AccessDenied"


def test_a_user_has_a_home(s3, ann, full):
    put_policy(
        s3, full, statement(full, Action=["s3:PutObject"], Resource=f"arn:aws:s3:::{full}/home/${{aws:username}}/*")
    )
    ann.put_object(Bucket=full, Key="home/ann/x", Body=b"1")
    assert refused(ann.put_object, Bucket=full, Key="home/bob/x", Body=b"1") == "AccessDenied"
    assert refused(ann.get_object, Bucket=full, Key="home/ann/x") == "AccessDenied"


def test_listing_can_be_tied_to_a_prefix(s3, stranger, full):
    put_policy(
        s3,
        full,
        statement(
            full,
            Action="s3:ListBucket",
            Resource=f"arn:aws:s3:::{full}",
            Condition={"StringLike": {"s3:prefix": "open/*"}},
        ),
    )
    assert [o["Key"] for o in stranger.list_objects_v2(Bucket=full, Prefix="open/")["Contents"]] == ["open/a"]
    assert [o["Key"] for o in stranger.list_objects(Bucket=full, Prefix="open/")["Contents"]] == ["open/a"]
    assert refused(stranger.list_objects_v2, Bucket=full, Prefix="shut/") == "AccessDenied"
    assert refused(stranger.list_objects_v2, Bucket=full) == "AccessDenied"


CONDITIONS = [
    ("an address inside", {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, {}, True),
    ("an address outside", {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {}, False),
    ("no address inside", {"NotIpAddress": {"aws:SourceIp": ["127.0.0.1", "10.0.0.0/8"]}}, {}, False),
    ("plain http where tls is asked for", {"Bool": {"aws:SecureTransport": "true"}}, {}, False),
    ("plain http where it is allowed", {"Bool": {"aws:SecureTransport": "false"}}, {}, True),
    ("a claim of tls by who is no proxy", {"Bool": {"aws:SecureTransport": "true"}}, {"x-forwarded-proto": "https"}, False),
    ("a forged address", {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"x-forwarded-for": "10.1.1.1"}, False),
    ("the right referer", {"StringLike": {"aws:Referer": "http://site/*"}}, {"referer": "http://site/page"}, True),
    ("another referer", {"StringLike": {"aws:Referer": "http://site/*"}}, {"referer": "http://other/"}, False),
    ("no referer", {"StringLike": {"aws:Referer": "http://site/*"}}, {}, False),
    ("no referer where that is fine", {"StringLikeIfExists": {"aws:Referer": "http://site/*"}}, {}, True),
    ("an agent", {"StringEquals": {"aws:UserAgent": "robot"}}, {"user-agent": "robot"}, True),
    ("before a date", {"DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}, {}, True),
    ("after a date", {"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}, {}, False),
    ("an absent key", {"Null": {"aws:Referer": "true"}}, {}, True),
    ("two of which one fails", {"Null": {"aws:Referer": "true"}, "Bool": {"aws:SecureTransport": "true"}}, {}, False),
]


@pytest.mark.parametrize(("condition", "headers", "open"), [c[1:] for c in CONDITIONS], ids=[c[0] for c in CONDITIONS])
def test_a_condition_is_met_or_not(s3, devnet, full, condition, headers, open):
    put_policy(s3, full, statement(full, Condition=condition))
    answer = send(devnet, "GET", f"/{full}/open/a", headers=headers)
    assert answer.status == (200 if open else 403), answer.data


def test_page_sizes_can_be_limited(s3, stranger, full):
    put_policy(
        s3,
        full,
        statement(
            full,
            Action="s3:ListBucket",
            Resource=f"arn:aws:s3:::{full}",
            Condition={"NumericLessThanEquals": {"s3:max-keys": "5"}},
        ),
    )
    assert refused(stranger.list_objects_v2, Bucket=full, MaxKeys=5) is None
    assert refused(stranger.list_objects_v2, Bucket=full, MaxKeys=6) == "AccessDenied"


def test_a_list_can_be_demanded_of_uploads(s3, ann, full):
    put_policy(
        s3,
        full,
        statement(full, Action="s3:PutObject", Principal=user("ann")),
        statement(
            full,
            Effect="Deny",
            Action="s3:PutObject",
            Condition={"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
        ),
    )
    assert refused(ann.put_object, Bucket=full, Key="n", Body=b"") == "AccessDenied"
    assert refused(ann.put_object, Bucket=full, Key="n", Body=b"", ACL="bucket-owner-full-control") is None


def test_reading_the_source_of_a_copy_needs_its_own_right(s3, ann, full):
    put_policy(s3, full, statement(full, Action="s3:PutObject", Principal=user("ann")))
    source = {"Bucket": full, "Key": "shut/b"}
    assert refused(ann.copy_object, Bucket=full, Key="n", CopySource=source) == "AccessDenied"
    put_policy(s3, full, statement(full, Action=["s3:PutObject", "s3:GetObject"], Principal=user("ann")))
    assert refused(ann.copy_object, Bucket=full, Key="n", CopySource=source) is None


def test_uploads_in_parts_need_the_right_to_write(s3, stranger, ann, full):
    put_policy(s3, full, statement(full, Action=["s3:PutObject"], Principal=user("ann")))
    upload = ann.create_multipart_upload(Bucket=full, Key="m")["UploadId"]
    part = ann.upload_part(Bucket=full, Key="m", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    place = {"Bucket": full, "Key": "m", "UploadId": upload}
    assert refused(stranger.complete_multipart_upload, MultipartUpload=parts, **place) == "AccessDenied"
    assert refused(ann.list_parts, **place) == "AccessDenied"
    assert refused(ann.abort_multipart_upload, **place) == "AccessDenied"
    ann.complete_multipart_upload(MultipartUpload=parts, **place)
    assert s3.get_object(Bucket=full, Key="m")["Body"].read() == b"part"


def test_each_of_many_deletions_is_judged(s3, ann, full):
    put_policy(s3, full, statement(full, Action="s3:DeleteObject", Principal=user("ann"), Resource=f"arn:aws:s3:::{full}/open/*"))
    answer = ann.delete_objects(Bucket=full, Delete={"Objects": [{"Key": "open/a"}, {"Key": "shut/b"}]})
    assert [d["Key"] for d in answer["Deleted"]] == ["open/a"]
    assert [e["Code"] for e in answer["Errors"]] == ["AccessDenied"]


MALFORMED = [
    ("no json", "nonsense"),
    ("no statement", '{"Version":"2012-10-17"}'),
    ("a wrong version", '{"Version":"2020-01-01","Statement":[]}'),
    ("a name given twice", '{"Statement":{"Effect":"Deny","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::BUCKET/*"}}'),
    ("an unknown effect", {"Effect": "Perhaps"}),
    ("an unknown action", {"Action": "s3:FlyObject"}),
    ("another service", {"Action": "ec2:RunInstances"}),
    ("another bucket", {"Resource": "arn:aws:s3:::somewhere-else/*"}),
    ("no arn", {"Resource": "bucket/*"}),
    ("an action that the resource has not", {"Action": "s3:ListBucket"}),
    ("a foreign account", {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}),
    ("a role", {"Principal": {"AWS": f"arn:aws:iam::{OWNER}:role/x"}}),
    ("nobody", {"Principal": None}),
    ("an unknown operator", {"Condition": {"StringRoughly": {"s3:prefix": "x"}}}),
    ("an unknown condition key", {"Condition": {"StringEquals": {"aws:SourceVpc": "x"}}}),
    ("an unknown variable", {"Resource": "arn:aws:s3:::BUCKET/${aws:nothing}"}),
    ("a wrong range of addresses", {"Condition": {"IpAddress": {"aws:SourceIp": "1.2.3.4/99"}}}),
    ("an unknown field", {"Efect": "Allow"}),
]


@pytest.mark.parametrize("policy", [m[1] for m in MALFORMED], ids=[m[0] for m in MALFORMED])
def test_a_policy_that_is_not_understood_is_refused(s3, bucket, policy):
    if isinstance(policy, dict):
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement(bucket, **policy)]})
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy=policy.replace("BUCKET", bucket)) == "MalformedPolicy"
    assert refused(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


def test_a_policy_says_whether_it_is_public(s3, full):
    def is_public(**changes):
        put_policy(s3, full, statement(full, **changes))
        return s3.get_bucket_policy_status(Bucket=full)["PolicyStatus"]["IsPublic"]

    assert is_public() is True
    assert is_public(Principal=user("ann")) is False
    assert is_public(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}) is False
    assert is_public(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}) is True


def block(**on):
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return {name: on.get(name, False) for name in names}


def test_a_public_access_block_comes_back_and_goes(s3, bucket):
    assert refused(s3.get_public_access_block, Bucket=bucket) == "NoSuchPublicAccessBlockConfiguration"
    wanted = block(IgnorePublicAcls=True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=wanted)
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == wanted
    s3.delete_public_access_block(Bucket=bucket)
    assert refused(s3.get_public_access_block, Bucket=bucket) == "NoSuchPublicAccessBlockConfiguration"


def test_a_block_refuses_public_policies_and_takes_others(s3, full):
    s3.put_public_access_block(Bucket=full, PublicAccessBlockConfiguration=block(BlockPublicPolicy=True))
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement(full)]})
    assert refused(s3.put_bucket_policy, Bucket=full, Policy=text) == "AccessDenied"
    put_policy(s3, full, statement(full, Principal=user("ann")))


def test_a_restricted_bucket_serves_its_account_only(s3, stranger, ann, full):
    put_policy(s3, full, statement(full))
    s3.put_public_access_block(Bucket=full, PublicAccessBlockConfiguration=block(RestrictPublicBuckets=True))
    assert refused(stranger.get_object, Bucket=full, Key="open/a") == "AccessDenied"
    assert refused(ann.get_object, Bucket=full, Key="open/a") is None


def test_what_is_not_there_is_told_to_who_may_list(s3, stranger, full):
    put_policy(
        s3,
        full,
        statement(full, Action=["s3:ListBucket", "s3:GetObject"], Resource=[f"arn:aws:s3:::{full}", f"arn:aws:s3:::{full}/*"]),
    )
    assert refused(stranger.get_object, Bucket=full, Key="none") == "NoSuchKey"
    assert refused(stranger.get_object, Bucket="e2e-not-there", Key="none") == "NoSuchBucket"


def test_strangers_choose_no_headers_of_answers(s3, devnet, full):
    put_policy(s3, full, statement(full))
    answer = send(devnet, "GET", f"/{full}/open/a?response-content-type=text/html")
    assert answer.status == 400 and b"InvalidRequest" in answer.data
