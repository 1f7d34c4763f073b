"""Object lock: default retention, retention, legal hold, and who may get round them."""

import datetime
import time

import pytest

from s3_cases import *  # noqa: F403
from s3_cases import fresh_bucket, put_versions, read, refusal, versioned_bucket, versioning

DENIED = (403, "AccessDenied")
BOTH = pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])


def later(seconds=3600):
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(seconds=seconds)


def retain(mode, seconds=3600):
    return {"Mode": mode, "RetainUntilDate": later(seconds)}


def rule(mode="GOVERNANCE", **span):
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, **span}}}


@pytest.fixture(scope="module")
def locked(s3):
    """A bucket with object lock that many cases share."""
    return fresh_bucket(s3, ObjectLockEnabledForBucket=True)


@pytest.fixture
def held(s3, locked, key):
    """A version under a mode: its name."""

    def make(mode, seconds=3600):
        until = later(seconds)
        return s3.put_object(
            Bucket=locked, Key=key, Body=b"kept", ObjectLockMode=mode, ObjectLockRetainUntilDate=until
        )["VersionId"]

    return make


# Buckets


def test_a_bucket_with_object_lock_keeps_versions(s3, locked):
    assert s3.get_bucket_versioning(Bucket=locked)["Status"] == "Enabled"


def test_object_lock_of_a_new_bucket_has_no_default(s3, locked):
    answer = s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"]
    assert answer == {"ObjectLockEnabled": "Enabled"}


def test_versioning_cannot_be_suspended_under_object_lock(s3, locked):
    ask = {"Bucket": locked, "VersioningConfiguration": {"Status": "Suspended"}}
    assert refusal(s3.put_bucket_versioning, **ask) == (409, "InvalidBucketState")


def test_a_bucket_without_object_lock_has_no_configuration(s3, plain):
    expected = (404, "ObjectLockConfigurationNotFoundError")
    assert refusal(s3.get_object_lock_configuration, Bucket=plain) == expected


def test_object_lock_needs_versioning(s3, plain):
    ask = {"Bucket": plain, "ObjectLockConfiguration": rule(Days=1)}
    assert refusal(s3.put_object_lock_configuration, **ask) == (409, "InvalidBucketState")


def test_object_lock_can_be_enabled_where_versions_are_kept(s3):
    name = versioned_bucket(s3)
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    answer = s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    assert answer["ObjectLockEnabled"] == "Enabled"


@BOTH
@pytest.mark.parametrize("span", [{"Days": 7}, {"Years": 2}])
def test_a_default_retention_is_remembered(s3, mode, span):
    name = fresh_bucket(s3, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule(mode, **span))
    answer = s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    assert answer == rule(mode, **span)


def test_a_default_retention_can_be_taken_back(s3):
    name = fresh_bucket(s3, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule(Days=1))
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    assert "Rule" not in s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    assert "ObjectLockMode" not in s3.head_object(
        Bucket=name, Key="k", VersionId=put_versions(s3, name, "k", b"1")[0]
    )


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"ObjectLockEnabled": "Disabled"}, "MalformedXML"),
        (rule("SOFT", Days=1), "MalformedXML"),
        (rule(Days=1, Years=1), "MalformedXML"),
        (rule(), "MalformedXML"),
        (rule(Days=0), "InvalidArgument"),
        (rule(Days=-1), "InvalidArgument"),
        (rule(Years=0), "InvalidArgument"),
        (rule(Years=101), "InvalidArgument"),
    ],
    ids=["disabled", "unknown-mode", "both-spans", "no-span", "no-days", "past-days", "no-years", "too-long"],
)
def test_a_default_retention_that_makes_no_sense_is_refused(s3, locked, bad, code):
    ask = {"Bucket": locked, "ObjectLockConfiguration": bad}
    assert refusal(s3.put_object_lock_configuration, **ask) == (400, code)


@BOTH
def test_new_versions_get_the_default_retention(s3, mode):
    name = fresh_bucket(s3, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule(mode, Days=3))
    only = put_versions(s3, name, "k", b"1")[0]
    head = s3.head_object(Bucket=name, Key="k")
    assert head["ObjectLockMode"] == mode
    left = head["ObjectLockRetainUntilDate"] - head["LastModified"]
    assert left == datetime.timedelta(days=3)
    assert refusal(s3.delete_object, Bucket=name, Key="k", VersionId=only) == DENIED


def test_a_retention_of_its_own_goes_before_the_default(s3):
    name = fresh_bucket(s3, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule("COMPLIANCE", Years=1))
    until = later(60)
    s3.put_object(Bucket=name, Key="k", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    head = s3.head_object(Bucket=name, Key="k")
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", until)


# Retention


@BOTH
def test_a_write_can_bring_its_retention(s3, locked, key, held, mode):
    made = held(mode)
    got = s3.get_object_retention(Bucket=locked, Key=key, VersionId=made)["Retention"]
    assert got["Mode"] == mode
    head = s3.head_object(Bucket=locked, Key=key)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == (mode, got["RetainUntilDate"])


@BOTH
def test_a_retained_version_cannot_be_removed(s3, locked, key, held, mode):
    made = held(mode)
    assert refusal(s3.delete_object, Bucket=locked, Key=key, VersionId=made) == DENIED
    assert read(s3, locked, key) == b"kept"


@BOTH
def test_among_many_removals_only_the_retained_fails(s3, locked, key, held, mode):
    free, made = put_versions(s3, locked, key, b"free")[0], held(mode)
    doomed = [{"Key": key, "VersionId": name} for name in (free, made)]
    answer = s3.delete_objects(Bucket=locked, Delete={"Objects": doomed})
    assert [d["VersionId"] for d in answer["Deleted"]] == [free]
    assert [(e["VersionId"], e["Code"]) for e in answer["Errors"]] == [(made, "AccessDenied")]


@BOTH
def test_a_marker_may_cover_a_retained_version(s3, locked, key, held, mode):
    made = held(mode)
    assert s3.delete_object(Bucket=locked, Key=key)["DeleteMarker"] is True
    assert read(s3, locked, key, VersionId=made) == b"kept"


@BOTH
def test_an_overwrite_leaves_the_retained_version(s3, locked, key, held, mode):
    made = held(mode)
    put_versions(s3, locked, key, b"new")
    assert read(s3, locked, key, VersionId=made) == b"kept"


def test_governance_can_be_bypassed(s3, locked, key, held):
    made = held("GOVERNANCE")
    s3.delete_object(Bucket=locked, Key=key, VersionId=made, BypassGovernanceRetention=True)
    assert refusal(s3.get_object, Bucket=locked, Key=key, VersionId=made) == (404, "NoSuchVersion")


def test_governance_can_be_bypassed_for_many(s3, locked, key, held):
    made = held("GOVERNANCE")
    doomed = {"Objects": [{"Key": key, "VersionId": made}]}
    answer = s3.delete_objects(Bucket=locked, Delete=doomed, BypassGovernanceRetention=True)
    assert [d["VersionId"] for d in answer["Deleted"]] == [made]


def test_compliance_cannot_be_bypassed(s3, locked, key, held):
    ask = {"Bucket": locked, "Key": key, "VersionId": held("COMPLIANCE"), "BypassGovernanceRetention": True}
    assert refusal(s3.delete_object, **ask) == DENIED


@BOTH
def test_retention_can_be_put_on_later(s3, locked, key, mode):
    only = put_versions(s3, locked, key, b"1")[0]
    asked = retain(mode)
    s3.put_object_retention(Bucket=locked, Key=key, Retention=asked)
    assert s3.get_object_retention(Bucket=locked, Key=key)["Retention"] == asked
    assert refusal(s3.delete_object, Bucket=locked, Key=key, VersionId=only) == DENIED


def test_retention_is_of_one_version(s3, locked, key):
    first, second = put_versions(s3, locked, key, b"1", b"2")
    s3.put_object_retention(Bucket=locked, Key=key, VersionId=first, Retention=retain("GOVERNANCE"))
    assert refusal(s3.delete_object, Bucket=locked, Key=key, VersionId=first) == DENIED
    s3.delete_object(Bucket=locked, Key=key, VersionId=second)


@BOTH
def test_retention_can_become_longer(s3, locked, key, held, mode):
    held(mode)
    longer = retain(mode, 7200)
    s3.put_object_retention(Bucket=locked, Key=key, Retention=longer)
    assert s3.get_object_retention(Bucket=locked, Key=key)["Retention"] == longer


@BOTH
def test_retention_cannot_become_shorter(s3, locked, key, held, mode):
    held(mode)
    ask = {"Bucket": locked, "Key": key, "Retention": retain(mode, 1800)}
    assert refusal(s3.put_object_retention, **ask) == DENIED


@BOTH
def test_retention_cannot_be_taken_off(s3, locked, key, held, mode):
    held(mode)
    assert refusal(s3.put_object_retention, Bucket=locked, Key=key, Retention={}) == DENIED


@pytest.mark.parametrize(
    "asked",
    [{"Mode": "GOVERNANCE", "in": 1800}, {"Mode": "COMPLIANCE", "in": 1800}, {}],
    ids=["shorter", "stricter", "none"],
)
def test_who_bypasses_governance_can_change_retention_freely(s3, locked, key, held, asked):
    held("GOVERNANCE")
    asked = retain(asked["Mode"], asked["in"]) if asked else {}
    ask = {"Bucket": locked, "Key": key, "Retention": asked, "BypassGovernanceRetention": True}
    s3.put_object_retention(**ask)
    if asked:
        assert s3.get_object_retention(Bucket=locked, Key=key)["Retention"] == asked
    else:
        expected = (404, "NoSuchObjectLockConfiguration")
        assert refusal(s3.get_object_retention, Bucket=locked, Key=key) == expected


def test_governance_does_not_become_compliance_without_bypass(s3, locked, key, held):
    held("GOVERNANCE")
    ask = {"Bucket": locked, "Key": key, "Retention": retain("COMPLIANCE", 7200)}
    assert refusal(s3.put_object_retention, **ask) == DENIED


@pytest.mark.parametrize("bypass", [False, True])
def test_compliance_never_becomes_governance(s3, locked, key, held, bypass):
    held("COMPLIANCE")
    ask = {"Bucket": locked, "Key": key, "Retention": retain("GOVERNANCE", 7200)}
    assert refusal(s3.put_object_retention, **ask, BypassGovernanceRetention=bypass) == DENIED


def test_retention_in_the_past_is_refused(s3, locked, key):
    put_versions(s3, locked, key, b"1")
    ask = {"Bucket": locked, "Key": key, "Retention": retain("GOVERNANCE", -60)}
    assert refusal(s3.put_object_retention, **ask) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    "asked",
    [{"Mode": "SOFT", "RetainUntilDate": later()}, {"Mode": "GOVERNANCE"}, {"RetainUntilDate": later()}],
    ids=["unknown-mode", "no-date", "no-mode"],
)
def test_retention_needs_a_mode_and_a_date(s3, locked, key, asked):
    put_versions(s3, locked, key, b"1")
    assert refusal(s3.put_object_retention, Bucket=locked, Key=key, Retention=asked) == (400, "MalformedXML")


@pytest.mark.parametrize(
    "headers",
    [
        {"ObjectLockMode": "GOVERNANCE"},
        {"ObjectLockRetainUntilDate": later()},
        {"ObjectLockMode": "SOFT", "ObjectLockRetainUntilDate": later()},
        {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": later(-60)},
    ],
    ids=["no-date", "no-mode", "unknown-mode", "past"],
)
def test_a_write_whose_retention_makes_no_sense_stores_nothing(s3, locked, key, headers):
    ask = {"Bucket": locked, "Key": key, "Body": b"x", **headers}
    assert refusal(s3.put_object, **ask) == (400, "InvalidArgument")
    assert refusal(s3.get_object, Bucket=locked, Key=key) == (404, "NoSuchKey")


def test_a_version_without_retention_says_so(s3, locked, key):
    put_versions(s3, locked, key, b"1")
    assert refusal(s3.get_object_retention, Bucket=locked, Key=key) == (404, "NoSuchObjectLockConfiguration")


def test_a_retention_that_is_over_holds_nothing(s3, locked, key, held):
    made = held("COMPLIANCE", seconds=2)
    for _ in range(100):
        try:
            s3.delete_object(Bucket=locked, Key=key, VersionId=made)
            break
        except s3.exceptions.ClientError as refused:
            assert refused.response["Error"]["Code"] == "AccessDenied"
            time.sleep(0.1)
    assert refusal(s3.get_object, Bucket=locked, Key=key, VersionId=made) == (404, "NoSuchVersion")


@BOTH
def test_a_multipart_upload_brings_its_retention(s3, locked, key, mode):
    until = later()
    upload = s3.create_multipart_upload(
        Bucket=locked, Key=key, ObjectLockMode=mode, ObjectLockRetainUntilDate=until
    )["UploadId"]
    where = {"Bucket": locked, "Key": key, "UploadId": upload}
    tag = s3.upload_part(**where, PartNumber=1, Body=b"x")["ETag"]
    made = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    head = s3.head_object(Bucket=locked, Key=key)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == (mode, until)
    assert refusal(s3.delete_object, Bucket=locked, Key=key, VersionId=made["VersionId"]) == DENIED


def test_a_copy_is_not_locked_like_its_source(s3, locked, key, held):
    held("COMPLIANCE")
    source = {"Bucket": locked, "Key": key}
    made = s3.copy_object(Bucket=locked, Key=key + "-copy", CopySource=source)["VersionId"]
    assert "ObjectLockMode" not in s3.head_object(Bucket=locked, Key=key + "-copy")
    s3.delete_object(Bucket=locked, Key=key + "-copy", VersionId=made)


def test_a_copy_can_bring_its_retention(s3, locked, key):
    put_versions(s3, locked, key, b"1")
    source, until = {"Bucket": locked, "Key": key}, later()
    s3.copy_object(
        Bucket=locked,
        Key=key + "-copy",
        CopySource=source,
        ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=until,
    )
    assert s3.head_object(Bucket=locked, Key=key + "-copy")["ObjectLockRetainUntilDate"] == until


# Legal hold


def hold(s3, bucket, key, status, **version):
    s3.put_object_legal_hold(Bucket=bucket, Key=key, LegalHold={"Status": status}, **version)


def test_a_version_on_hold_cannot_be_removed_until_it_ends(s3, locked, key):
    only = put_versions(s3, locked, key, b"1")[0]
    hold(s3, locked, key, "ON")
    ask = {"Bucket": locked, "Key": key, "VersionId": only}
    assert refusal(s3.delete_object, **ask) == DENIED
    assert refusal(s3.delete_object, **ask, BypassGovernanceRetention=True) == DENIED
    hold(s3, locked, key, "OFF")
    s3.delete_object(**ask)


@pytest.mark.parametrize("status", ["ON", "OFF"])
def test_a_hold_is_told(s3, locked, key, status):
    put_versions(s3, locked, key, b"1")
    hold(s3, locked, key, status)
    assert s3.get_object_legal_hold(Bucket=locked, Key=key)["LegalHold"] == {"Status": status}
    hold(s3, locked, key, "OFF")


def test_a_write_can_bring_its_hold(s3, locked, key):
    s3.put_object(Bucket=locked, Key=key, Body=b"1", ObjectLockLegalHoldStatus="ON")
    assert s3.head_object(Bucket=locked, Key=key)["ObjectLockLegalHoldStatus"] == "ON"


def test_a_hold_is_of_one_version(s3, locked, key):
    first, second = put_versions(s3, locked, key, b"1", b"2")
    hold(s3, locked, key, "ON", VersionId=first)
    assert s3.get_object_legal_hold(Bucket=locked, Key=key)["LegalHold"] == {"Status": "OFF"}
    s3.delete_object(Bucket=locked, Key=key, VersionId=second)


def test_an_unknown_hold_is_refused(s3, locked, key):
    put_versions(s3, locked, key, b"1")
    ask = {"Bucket": locked, "Key": key, "LegalHold": {"Status": "MAYBE"}}
    assert refusal(s3.put_object_legal_hold, **ask) == (400, "MalformedXML")


def test_a_hold_and_a_retention_hold_each_for_itself(s3, locked, key, held):
    made = held("GOVERNANCE")
    hold(s3, locked, key, "ON")
    ask = {"Bucket": locked, "Key": key, "VersionId": made, "BypassGovernanceRetention": True}
    assert refusal(s3.delete_object, **ask) == DENIED
    hold(s3, locked, key, "OFF")
    assert refusal(s3.delete_object, Bucket=locked, Key=key, VersionId=made) == DENIED
    s3.delete_object(**ask)


# Without object lock


@pytest.mark.parametrize(
    ("call", "more"),
    [
        ("get_object_retention", {}),
        ("get_object_legal_hold", {}),
        ("put_object_retention", {"Retention": retain("GOVERNANCE")}),
        ("put_object_legal_hold", {"LegalHold": {"Status": "ON"}}),
    ],
)
def test_without_object_lock_nothing_is_locked_by_label(s3, kept, key, call, more):
    put_versions(s3, kept, key, b"1")
    assert refusal(getattr(s3, call), Bucket=kept, Key=key, **more) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "headers",
    [
        {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": later()},
        {"ObjectLockLegalHoldStatus": "ON"},
    ],
    ids=["retention", "hold"],
)
@pytest.mark.parametrize("call", ["put_object", "create_multipart_upload"])
def test_without_object_lock_nothing_is_locked_by_header(s3, plain, key, call, headers):
    assert refusal(getattr(s3, call), Bucket=plain, Key=key, **headers) == (400, "InvalidRequest")


def test_versioning_of_a_locked_bucket_can_be_enabled_again(s3, locked):
    versioning(s3, locked, "Enabled")
