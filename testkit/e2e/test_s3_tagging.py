"""Tags of objects, versions and buckets."""

import pytest

from s3_cases import *  # noqa: F403
from s3_cases import fresh_bucket, put_versions, refusal, versioned_bucket

BAD = (400, "InvalidTag")


def tags(**pairs):
    return {"TagSet": [{"Key": k, "Value": v} for k, v in pairs.items()]}


def many(count):
    return tags(**{f"k{i:02}": str(i) for i in range(count)})


def of(s3, bucket, key, **version):
    found = s3.get_object_tagging(Bucket=bucket, Key=key, **version)["TagSet"]
    return {t["Key"]: t["Value"] for t in found}


# Objects


def test_an_object_has_no_tags_by_itself(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    assert of(s3, plain, key) == {}
    assert "TagCount" not in s3.get_object(Bucket=plain, Key=key)


def test_tags_come_back_as_they_went(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    s3.put_object_tagging(Bucket=plain, Key=key, Tagging=tags(a="1", b="", c="\u00e9 +/="))
    assert of(s3, plain, key) == {"a": "1", "b": "", "c": "\u00e9 +/="}


def test_new_tags_replace_all_old_ones(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    s3.put_object_tagging(Bucket=plain, Key=key, Tagging=tags(a="1", b="2"))
    s3.put_object_tagging(Bucket=plain, Key=key, Tagging=tags(c="3"))
    assert of(s3, plain, key) == {"c": "3"}


def test_tags_can_be_taken_off(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    s3.put_object_tagging(Bucket=plain, Key=key, Tagging=tags(a="1"))
    s3.delete_object_tagging(Bucket=plain, Key=key)
    assert of(s3, plain, key) == {}


def test_taking_off_no_tags_succeeds(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    s3.delete_object_tagging(Bucket=plain, Key=key)


def test_tags_do_not_touch_the_object(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    before = s3.head_object(Bucket=plain, Key=key)
    s3.put_object_tagging(Bucket=plain, Key=key, Tagging=tags(a="1"))
    after = s3.head_object(Bucket=plain, Key=key)
    assert (before["ETag"], before["LastModified"]) == (after["ETag"], after["LastModified"])


def test_an_overwritten_object_loses_its_tags(s3, plain, key):
    s3.put_object(Bucket=plain, Key=key, Body=b"1", Tagging="a=1")
    put_versions(s3, plain, key, b"2")
    assert of(s3, plain, key) == {}


@pytest.mark.parametrize("call", ["get_object_tagging", "put_object_tagging", "delete_object_tagging"])
def test_tags_of_nothing_are_not_found(s3, plain, key, call):
    more = {"Tagging": tags(a="1")} if call.startswith("put") else {}
    assert refusal(getattr(s3, call), Bucket=plain, Key=key, **more) == (404, "NoSuchKey")


def test_reads_count_the_tags(s3, plain, key):
    s3.put_object(Bucket=plain, Key=key, Body=b"1", Tagging="a=1&b=2")
    assert s3.get_object(Bucket=plain, Key=key)["TagCount"] == 2
    head = s3.head_object(Bucket=plain, Key=key)
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"


# Limits


def test_ten_tags_are_possible(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    s3.put_object_tagging(Bucket=plain, Key=key, Tagging=many(10))
    assert len(of(s3, plain, key)) == 10


@pytest.mark.parametrize(
    "asked",
    [
        many(11),
        tags(**{"k" * 129: "x"}),
        tags(k="v" * 257),
        tags(**{"aws:k": "x"}),
        {"TagSet": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]},
    ],
    ids=["eleven", "long-key", "long-value", "reserved-key", "twice"],
)
def test_tags_beyond_the_limits_are_refused_and_change_nothing(s3, plain, key, asked):
    s3.put_object(Bucket=plain, Key=key, Body=b"1", Tagging="old=1")
    assert refusal(s3.put_object_tagging, Bucket=plain, Key=key, Tagging=asked) == BAD
    assert of(s3, plain, key) == {"old": "1"}


def test_tags_as_long_as_can_be_are_kept(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    s3.put_object_tagging(Bucket=plain, Key=key, Tagging=tags(**{"k" * 128: "\u00e9" * 256}))
    assert of(s3, plain, key) == {"k" * 128: "\u00e9" * 256}


# With writes


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("a=1", {"a": "1"}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a%20b=c%2Fd", {"a b": "c/d"}),
        ("a+b=c+d", {"a b": "c d"}),
        ("a=1=2", {"a": "1=2"}),
        ("%C3%A9=%E4%B8%AD", {"\u00e9": "\u4e2d"}),
    ],
)
def test_a_write_brings_tags_in_a_header(s3, plain, key, header, found):
    s3.put_object(Bucket=plain, Key=key, Body=b"1", Tagging=header)
    assert of(s3, plain, key) == found


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("a=1&a=2", "InvalidTag"),
        ("=1", "InvalidTag"),
        ("a=%zz", "InvalidArgument"),
        ("&".join(f"k{i}=v" for i in range(11)), "InvalidTag"),
    ],
    ids=["twice", "no-key", "no-encoding", "eleven"],
)
def test_a_write_with_bad_tags_stores_nothing(s3, plain, key, header, code):
    ask = {"Bucket": plain, "Key": key, "Body": b"1", "Tagging": header}
    assert refusal(s3.put_object, **ask) == (400, code)
    assert refusal(s3.get_object, Bucket=plain, Key=key) == (404, "NoSuchKey")


def test_a_multipart_upload_brings_tags(s3, plain, key):
    upload = s3.create_multipart_upload(Bucket=plain, Key=key, Tagging="a=1&b=2")["UploadId"]
    where = {"Bucket": plain, "Key": key, "UploadId": upload}
    tag = s3.upload_part(**where, PartNumber=1, Body=b"x")["ETag"]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    assert of(s3, plain, key) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, {"a": "1"}),
        ({"TaggingDirective": "COPY"}, {"a": "1"}),
        ({"TaggingDirective": "REPLACE", "Tagging": "b=2"}, {"b": "2"}),
        ({"TaggingDirective": "REPLACE"}, {}),
        ({"MetadataDirective": "REPLACE", "Metadata": {"x": "y"}}, {"a": "1"}),
    ],
    ids=["default", "copy", "replace", "replace-by-none", "metadata-only"],
)
def test_a_copy_keeps_or_replaces_the_tags(s3, plain, key, options, found):
    s3.put_object(Bucket=plain, Key=key, Body=b"1", Tagging="a=1")
    source = {"Bucket": plain, "Key": key}
    s3.copy_object(Bucket=plain, Key=key + "-copy", CopySource=source, **options)
    assert of(s3, plain, key + "-copy") == found


def test_an_unknown_directive_is_refused(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    ask = {"Bucket": plain, "Key": "x", "CopySource": {"Bucket": plain, "Key": key}, "TaggingDirective": "KEEP"}
    assert refusal(s3.copy_object, **ask) == (400, "InvalidArgument")


# Versions


def test_each_version_has_its_own_tags(s3, kept, key):
    one = s3.put_object(Bucket=kept, Key=key, Body=b"1", Tagging="n=1")["VersionId"]
    two = s3.put_object(Bucket=kept, Key=key, Body=b"2", Tagging="n=2")["VersionId"]
    answer = s3.put_object_tagging(Bucket=kept, Key=key, VersionId=one, Tagging=tags(n="one"))
    assert answer["VersionId"] == one
    assert of(s3, kept, key, VersionId=one) == {"n": "one"}
    assert of(s3, kept, key, VersionId=two) == of(s3, kept, key) == {"n": "2"}


def test_tags_of_one_version_are_taken_off_alone(s3, kept, key):
    one = s3.put_object(Bucket=kept, Key=key, Body=b"1", Tagging="n=1")["VersionId"]
    s3.put_object(Bucket=kept, Key=key, Body=b"2", Tagging="n=2")
    assert s3.delete_object_tagging(Bucket=kept, Key=key, VersionId=one)["VersionId"] == one
    assert of(s3, kept, key, VersionId=one) == {}
    assert of(s3, kept, key) == {"n": "2"}


def test_without_a_version_the_newest_is_tagged(s3, kept, key):
    one, two = put_versions(s3, kept, key, b"1", b"2")
    s3.put_object_tagging(Bucket=kept, Key=key, Tagging=tags(a="1"))
    assert of(s3, kept, key, VersionId=two) == {"a": "1"}
    assert of(s3, kept, key, VersionId=one) == {}


# Buckets


def test_a_bucket_has_no_tags_by_itself(s3, plain):
    assert refusal(s3.get_bucket_tagging, Bucket=plain) == (404, "NoSuchTagSet")


def test_tags_of_a_bucket_come_and_go(s3):
    name = fresh_bucket(s3)
    s3.put_bucket_tagging(Bucket=name, Tagging=tags(team="a", cost="b"))
    assert sorted(s3.get_bucket_tagging(Bucket=name)["TagSet"], key=lambda t: t["Key"]) == [
        {"Key": "cost", "Value": "b"},
        {"Key": "team", "Value": "a"},
    ]
    s3.put_bucket_tagging(Bucket=name, Tagging=tags(team="c"))
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == [{"Key": "team", "Value": "c"}]
    s3.delete_bucket_tagging(Bucket=name)
    assert refusal(s3.get_bucket_tagging, Bucket=name) == (404, "NoSuchTagSet")


@pytest.mark.parametrize(("count", "fits"), [(50, True), (51, False)])
def test_a_bucket_has_at_most_fifty_tags(s3, count, fits):
    name = versioned_bucket(s3)
    if fits:
        s3.put_bucket_tagging(Bucket=name, Tagging=many(count))
        assert len(s3.get_bucket_tagging(Bucket=name)["TagSet"]) == count
    else:
        assert refusal(s3.put_bucket_tagging, Bucket=name, Tagging=many(count)) == BAD


@pytest.mark.parametrize("call", ["get_bucket_tagging", "put_bucket_tagging", "delete_bucket_tagging"])
def test_tags_of_no_bucket_are_not_found(s3, call):
    more = {"Tagging": tags(a="1")} if call.startswith("put") else {}
    assert refusal(getattr(s3, call), Bucket="case-no-such-bucket", **more) == (404, "NoSuchBucket")
