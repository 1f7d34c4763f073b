"""Conditions on reads, writes, copies and deletions, and what they mean when many ask at once."""

import datetime
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from conftest import s3_client
from s3_cases import *  # noqa: F403
from s3_cases import put_versions, read, refusal, refused_headers, tag_of, versions_of

FAILED = (412, "PreconditionFailed")
NO_KEY = (404, "NoSuchKey")
OTHER = '"00000000000000000000000000000000"'
PAST = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
FUTURE = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)
BODY = b"present"
TAG = tag_of(BODY)


@pytest.fixture
def there(s3, plain, key):
    s3.put_object(Bucket=plain, Key=key, Body=BODY)
    return {"Bucket": plain, "Key": key}


# Reading

HOLDS = {
    "match": {"IfMatch": TAG},
    "match-any": {"IfMatch": "*"},
    "none-match": {"IfNoneMatch": OTHER},
    "modified-since": {"IfModifiedSince": PAST},
    "unmodified-since": {"IfUnmodifiedSince": FUTURE},
    # The tag says more than the date.
    "match-beats-date": {"IfMatch": TAG, "IfUnmodifiedSince": PAST},
    "none-match-beats-date": {"IfNoneMatch": OTHER, "IfModifiedSince": FUTURE},
}
FAILS = {
    "match": ({"IfMatch": OTHER}, 412),
    "none-match": ({"IfNoneMatch": TAG}, 304),
    "none-match-any": ({"IfNoneMatch": "*"}, 304),
    "modified-since": ({"IfModifiedSince": FUTURE}, 304),
    "unmodified-since": ({"IfUnmodifiedSince": PAST}, 412),
    "match-then-none-match": ({"IfMatch": TAG, "IfNoneMatch": TAG}, 304),
    "match-fails-first": ({"IfMatch": OTHER, "IfNoneMatch": TAG}, 412),
}


@pytest.mark.parametrize("case", list(HOLDS))
@pytest.mark.parametrize("call", ["get_object", "head_object"])
def test_a_read_whose_condition_holds_is_answered(s3, there, call, case):
    assert getattr(s3, call)(**there, **HOLDS[case])["ETag"] == TAG


@pytest.mark.parametrize("case", list(FAILS))
@pytest.mark.parametrize("call", ["get_object", "head_object"])
def test_a_read_whose_condition_fails_is_not(s3, there, call, case):
    condition, status = FAILS[case]
    assert refusal(getattr(s3, call), **there, **condition)[0] == status


def test_what_was_not_modified_says_its_tag(s3, there):
    status, headers = refused_headers(s3.get_object, **there, IfNoneMatch=TAG)
    assert (status, headers["etag"]) == (304, TAG)


def test_a_condition_on_an_old_version_is_about_that_version(s3, kept, key):
    old = put_versions(s3, kept, key, BODY, b"newer")[0]
    s3.get_object(Bucket=kept, Key=key, VersionId=old, IfMatch=TAG)
    assert refusal(s3.get_object, Bucket=kept, Key=key, IfMatch=TAG) == FAILED


# Writing


def test_a_write_may_demand_the_tag_that_it_replaces(s3, there):
    s3.put_object(**there, Body=b"2", IfMatch=TAG)
    assert refusal(s3.put_object, **there, Body=b"3", IfMatch=TAG) == FAILED
    assert read(s3, there["Bucket"], there["Key"]) == b"2"


def test_a_write_may_demand_that_something_is_there(s3, there):
    s3.put_object(**there, Body=b"2", IfMatch="*")
    ask = {"Bucket": there["Bucket"], "Key": there["Key"] + "-none", "Body": b"x"}
    assert refusal(s3.put_object, **ask, IfMatch="*") == NO_KEY


def test_a_write_may_demand_that_nothing_is_there(s3, there):
    assert refusal(s3.put_object, **there, Body=b"2", IfNoneMatch="*") == FAILED
    s3.delete_object(**there)
    s3.put_object(**there, Body=b"3", IfNoneMatch="*")
    assert read(s3, there["Bucket"], there["Key"]) == b"3"


@pytest.mark.parametrize("condition", ["IfMatch", "IfNoneMatch"])
def test_a_write_whose_tag_condition_fails_stores_nothing(s3, there, condition):
    tag = OTHER if condition == "IfMatch" else TAG
    assert refusal(s3.put_object, **there, Body=b"2", **{condition: tag}) == FAILED
    assert read(s3, there["Bucket"], there["Key"]) == BODY


def test_under_a_marker_nothing_is_there(s3, kept, key):
    put_versions(s3, kept, key, BODY)
    s3.delete_object(Bucket=kept, Key=key)
    assert refusal(s3.put_object, Bucket=kept, Key=key, Body=b"2", IfMatch=TAG) == NO_KEY
    s3.put_object(Bucket=kept, Key=key, Body=b"3", IfNoneMatch="*")


def test_a_write_condition_is_about_the_newest_version(s3, kept, key):
    put_versions(s3, kept, key, BODY, b"newer")
    assert refusal(s3.put_object, Bucket=kept, Key=key, Body=b"3", IfMatch=TAG) == FAILED


def complete(s3, bucket, key, **condition):
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload}
    tag = s3.upload_part(**where, PartNumber=1, Body=b"parts")["ETag"]
    ask = {**where, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": tag}]}}
    return ask, lambda: s3.complete_multipart_upload(**ask, **condition)


def test_a_completion_may_demand_a_tag(s3, there):
    ask, done = complete(s3, **{"bucket": there["Bucket"], "key": there["Key"]}, IfMatch=TAG)
    assert refusal(s3.complete_multipart_upload, **ask, IfMatch=OTHER) == FAILED
    done()
    assert read(s3, there["Bucket"], there["Key"]) == b"parts"


def test_a_completion_may_demand_that_nothing_is_there(s3, there):
    ask, _ = complete(s3, there["Bucket"], there["Key"])
    assert refusal(s3.complete_multipart_upload, **ask, IfNoneMatch="*") == FAILED
    s3.delete_object(**there)
    s3.complete_multipart_upload(**ask, IfNoneMatch="*")


# Copying

COPY_HOLDS = {
    "match": {"CopySourceIfMatch": TAG},
    "none-match": {"CopySourceIfNoneMatch": OTHER},
    "modified-since": {"CopySourceIfModifiedSince": PAST},
    "unmodified-since": {"CopySourceIfUnmodifiedSince": FUTURE},
    "match-beats-date": {"CopySourceIfMatch": TAG, "CopySourceIfUnmodifiedSince": PAST},
}
COPY_FAILS = {
    "match": {"CopySourceIfMatch": OTHER},
    "none-match": {"CopySourceIfNoneMatch": TAG},
    "modified-since": {"CopySourceIfModifiedSince": FUTURE},
    "unmodified-since": {"CopySourceIfUnmodifiedSince": PAST},
}


@pytest.mark.parametrize("case", list(COPY_HOLDS))
def test_a_copy_whose_source_fits_is_made(s3, there, case):
    target = {"Bucket": there["Bucket"], "Key": there["Key"] + "-copy"}
    s3.copy_object(**target, CopySource=there, **COPY_HOLDS[case])
    assert read(s3, target["Bucket"], target["Key"]) == BODY


@pytest.mark.parametrize("case", list(COPY_FAILS))
def test_a_copy_whose_source_does_not_fit_is_not_made(s3, there, case):
    target = {"Bucket": there["Bucket"], "Key": there["Key"] + "-copy"}
    assert refusal(s3.copy_object, **target, CopySource=there, **COPY_FAILS[case]) == FAILED
    assert refusal(s3.get_object, **target) == NO_KEY


@pytest.mark.parametrize("case", list(COPY_FAILS))
def test_a_part_whose_source_does_not_fit_is_not_copied(s3, there, case):
    upload = s3.create_multipart_upload(**there)["UploadId"]
    ask = {**there, "UploadId": upload, "PartNumber": 1, "CopySource": there}
    assert refusal(s3.upload_part_copy, **ask, **COPY_FAILS[case]) == FAILED
    s3.abort_multipart_upload(**there, UploadId=upload)


# Deleting


@pytest.mark.parametrize("tag", [TAG, "*"], ids=["tag", "any"])
def test_a_deletion_whose_condition_holds_is_done(s3, there, tag):
    s3.delete_object(**there, IfMatch=tag)
    assert refusal(s3.get_object, **there) == NO_KEY


def test_a_deletion_whose_tag_differs_is_not_done(s3, there):
    assert refusal(s3.delete_object, **there, IfMatch=OTHER) == FAILED
    assert read(s3, there["Bucket"], there["Key"]) == BODY


@pytest.mark.parametrize("tag", [TAG, "*"], ids=["tag", "any"])
def test_a_conditional_deletion_of_nothing_is_not_found(s3, plain, key, tag):
    assert refusal(s3.delete_object, Bucket=plain, Key=key, IfMatch=tag) == NO_KEY


def test_a_conditional_deletion_under_a_marker_is_not_found(s3, kept, key):
    put_versions(s3, kept, key, BODY)
    s3.delete_object(Bucket=kept, Key=key)
    assert refusal(s3.delete_object, Bucket=kept, Key=key, IfMatch=TAG) == NO_KEY


@pytest.mark.parametrize(("size", "fits"), [(len(BODY), True), (len(BODY) + 1, False), (0, False)])
def test_a_deletion_may_demand_a_size(s3, there, size, fits):
    if fits:
        s3.delete_object(**there, IfMatchSize=size)
        assert refusal(s3.get_object, **there) == NO_KEY
    else:
        assert refusal(s3.delete_object, **there, IfMatchSize=size) == FAILED


def test_a_deletion_may_demand_when_the_object_was_written(s3, there):
    written = s3.head_object(**there)["LastModified"]
    assert refusal(s3.delete_object, **there, IfMatchLastModifiedTime=PAST) == FAILED
    s3.delete_object(**there, IfMatchLastModifiedTime=written)
    assert refusal(s3.get_object, **there) == NO_KEY


def test_a_deletion_by_size_of_nothing_succeeds(s3, plain, key):
    s3.delete_object(Bucket=plain, Key=key, IfMatchSize=1)


def test_a_deletion_whose_condition_fails_puts_no_marker(s3, kept, key):
    only = put_versions(s3, kept, key, BODY)[0]
    assert refusal(s3.delete_object, Bucket=kept, Key=key, IfMatch=OTHER) == FAILED
    assert versions_of(s3, kept, key) == [(only, True, "object")]


@pytest.mark.parametrize(
    "condition",
    [{"ETag": OTHER}, {"Size": 99}, {"LastModifiedTime": PAST}],
    ids=["tag", "size", "time"],
)
def test_among_many_deletions_each_has_its_own_condition(s3, there, condition):
    other = there["Key"] + "-other"
    s3.put_object(Bucket=there["Bucket"], Key=other, Body=BODY)
    doomed = [{"Key": there["Key"], **condition}, {"Key": other, "ETag": TAG}]
    answer = s3.delete_objects(Bucket=there["Bucket"], Delete={"Objects": doomed})
    assert [d["Key"] for d in answer["Deleted"]] == [other]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [(there["Key"], "PreconditionFailed")]
    assert read(s3, there["Bucket"], there["Key"]) == BODY


# Many at once


def outcomes(devnet, count, call):
    """What `count` clients hear that ask at the same time; a code or None."""

    def one(number):
        try:
            call(s3_client(devnet), number)
            return None
        except ClientError as refused:
            return refused.response["Error"]["Code"]

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_many_that_create_one_wins(devnet, s3, plain, key):
    heard = outcomes(
        devnet, 8, lambda c, n: c.put_object(Bucket=plain, Key=key, Body=bytes([n]) * 9000, IfNoneMatch="*")
    )
    assert heard.count(None) == 1 and heard.count("PreconditionFailed") == 7
    assert read(s3, plain, key) == bytes([heard.index(None)]) * 9000


def test_of_many_that_replace_one_wins(devnet, s3, there):
    heard = outcomes(devnet, 8, lambda c, n: c.put_object(**there, Body=b"%d" % n, IfMatch=TAG))
    assert heard.count(None) == 1 and heard.count("PreconditionFailed") == 7
    assert read(s3, there["Bucket"], there["Key"]) == b"%d" % heard.index(None)


def test_of_many_that_delete_one_wins(devnet, s3, there):
    heard = outcomes(devnet, 8, lambda c, n: c.delete_object(**there, IfMatch=TAG))
    assert heard.count(None) == 1 and heard.count("NoSuchKey") == 7


def test_counting_by_conditions_loses_no_step(devnet, s3, there):
    """Each client counts one up until its own step counted."""

    def count_up(client, _):
        while True:
            got = client.get_object(**there)
            value = got["Body"].read()
            step = b"%d" % (int(value) + 1 if value != BODY else 1)
            try:
                return client.put_object(**there, Body=step, IfMatch=got["ETag"])
            except ClientError as refused:
                assert refused.response["Error"]["Code"] == "PreconditionFailed"

    assert outcomes(devnet, 6, count_up) == [None] * 6
    assert read(s3, there["Bucket"], there["Key"]) == b"6"
