"""Lifecycle rules: what is accepted, what is announced, what is deleted."""

import datetime
import time

import pytest

from s3_cases import *  # noqa: F403
from s3_cases import fresh_bucket, keys, put_versions, read, refusal, versioned_bucket, versions_of

MIDNIGHT = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
FUTURE = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)
MALFORMED, INVALID, REQUEST = (400, "MalformedXML"), (400, "InvalidArgument"), (400, "InvalidRequest")


def rule(name="r", prefix="", status="Enabled", **more):
    """A rule that expires after a day unless it says something else."""
    more.setdefault("Filter", {"Prefix": prefix})
    if not any(word in more for word in ("Expiration", "Noncurrent", "Abort")):
        more["Expiration"] = {"Days": 1}
    names = {"Noncurrent": "NoncurrentVersionExpiration", "Abort": "AbortIncompleteMultipartUpload"}
    return {"ID": name, "Status": status, **{names.get(k, k): v for k, v in more.items()}}


def put(s3, bucket, *rules):
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})


def refused(s3, bucket, *rules):
    ask = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": list(rules)}}
    return refusal(s3.put_bucket_lifecycle_configuration, **ask)


def get(s3, bucket):
    return s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]


@pytest.fixture(scope="module")
def ruled(s3):
    """A bucket whose rules each case replaces."""
    return fresh_bucket(s3)


# The configuration


def test_a_bucket_has_no_rules_by_itself(s3, plain):
    expected = (404, "NoSuchLifecycleConfiguration")
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=plain) == expected


TAG = {"Key": "k", "Value": "v"}
SHAPES = {
    "everything": rule(Filter={"Prefix": ""}),
    "prefix": rule(prefix="logs/"),
    "tag": rule(Filter={"Tag": TAG}),
    "larger": rule(Filter={"ObjectSizeGreaterThan": 100}),
    "smaller": rule(Filter={"ObjectSizeLessThan": 100}),
    "and-prefix-tag": rule(Filter={"And": {"Prefix": "a", "Tags": [TAG]}}),
    "and-tags": rule(Filter={"And": {"Tags": [TAG, {"Key": "l", "Value": ""}]}}),
    "and-sizes": rule(Filter={"And": {"ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}}),
    "and-all": rule(
        Filter={"And": {"Prefix": "a", "Tags": [TAG], "ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}}
    ),
    "date": rule(Expiration={"Date": FUTURE}),
    "markers": rule(Expiration={"ExpiredObjectDeleteMarker": True}),
    "noncurrent": rule(Noncurrent={"NoncurrentDays": 3}),
    "noncurrent-kept": rule(Noncurrent={"NoncurrentDays": 3, "NewerNoncurrentVersions": 5}),
    "uploads": rule(Abort={"DaysAfterInitiation": 2}),
    "disabled": rule(status="Disabled"),
    "everything-at-once": rule(
        Expiration={"Days": 1}, Noncurrent={"NoncurrentDays": 1}, Abort={"DaysAfterInitiation": 1}
    ),
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_rule_comes_back_as_it_went(s3, ruled, shape):
    put(s3, ruled, SHAPES[shape])
    assert get(s3, ruled) == [SHAPES[shape]]


def test_a_rule_in_the_older_form_comes_back_in_it(s3, ruled):
    older = {"ID": "r", "Status": "Enabled", "Prefix": "a/", "Expiration": {"Days": 1}}
    put(s3, ruled, older)
    assert get(s3, ruled) == [older]


def test_a_rule_without_a_name_gets_one(s3, ruled):
    nameless = [{k: v for k, v in rule(prefix=p).items() if k != "ID"} for p in "ab"]
    put(s3, ruled, *nameless)
    names = {r["ID"] for r in get(s3, ruled)}
    assert len(names) == 2 and "" not in names


def test_new_rules_replace_all_old_ones(s3, ruled):
    put(s3, ruled, rule("a"), rule("b"))
    put(s3, ruled, rule("c"))
    assert [r["ID"] for r in get(s3, ruled)] == ["c"]


def test_rules_keep_their_order(s3, ruled):
    names = ["z", "a", "m"]
    put(s3, ruled, *[rule(name) for name in names])
    assert [r["ID"] for r in get(s3, ruled)] == names


def test_rules_can_be_taken_off(s3):
    name = fresh_bucket(s3)
    put(s3, name, rule())
    for _ in range(2):
        s3.delete_bucket_lifecycle(Bucket=name)
    expected = (404, "NoSuchLifecycleConfiguration")
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=name) == expected


REFUSED = {
    "same-name": ([rule("a"), rule("a")], INVALID),
    "long-name": ([rule("n" * 256)], INVALID),
    "unknown-status": ([rule(status="enabled")], MALFORMED),
    "no-filter": ([{"ID": "r", "Status": "Enabled", "Expiration": {"Days": 1}}], MALFORMED),
    "filter-and-prefix": ([rule() | {"Prefix": "a"}], MALFORMED),
    "two-conditions": ([rule(Filter={"Prefix": "a", "Tag": TAG})], MALFORMED),
    "condition-beside-and": ([rule(Filter={"Prefix": "a", "And": {"Tags": [TAG]}})], MALFORMED),
    "tag-twice": ([rule(Filter={"And": {"Tags": [TAG, TAG]}})], REQUEST),
    "no-size-fits": ([rule(Filter={"And": {"ObjectSizeGreaterThan": 9, "ObjectSizeLessThan": 9}})], REQUEST),
    "negative-size": ([rule(Filter={"ObjectSizeGreaterThan": -1})], INVALID),
    "no-days": ([rule(Expiration={"Days": 0})], INVALID),
    "negative-days": ([rule(Expiration={"Days": -1})], INVALID),
    "empty-expiration": ([rule(Expiration={})], MALFORMED),
    "days-and-date": ([rule(Expiration={"Days": 1, "Date": FUTURE})], MALFORMED),
    "days-and-markers": ([rule(Expiration={"Days": 1, "ExpiredObjectDeleteMarker": True})], MALFORMED),
    "not-midnight": ([rule(Expiration={"Date": FUTURE + datetime.timedelta(hours=1)})], INVALID),
    "markers-by-tag": ([rule(Filter={"Tag": TAG}, Expiration={"ExpiredObjectDeleteMarker": True})], REQUEST),
    "noncurrent-no-days": ([rule(Noncurrent={"NoncurrentDays": 0})], INVALID),
    "noncurrent-without-days": ([rule(Noncurrent={"NewerNoncurrentVersions": 1})], MALFORMED),
    "keep-too-many": ([rule(Noncurrent={"NoncurrentDays": 1, "NewerNoncurrentVersions": 101})], INVALID),
    "keep-none": ([rule(Noncurrent={"NoncurrentDays": 1, "NewerNoncurrentVersions": 0})], INVALID),
    "uploads-no-days": ([rule(Abort={"DaysAfterInitiation": 0})], INVALID),
    "uploads-by-tag": ([rule(Filter={"Tag": TAG}, Abort={"DaysAfterInitiation": 1})], REQUEST),
    "nothing-to-do": ([{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}}], REQUEST),
    "no-rules": ([], MALFORMED),
    "transition": ([rule(Transitions=[{"Days": 1, "StorageClass": "GLACIER"}])], (501, "NotImplemented")),
    "noncurrent-transition": (
        [rule(NoncurrentVersionTransitions=[{"NoncurrentDays": 1, "StorageClass": "GLACIER"}])],
        (501, "NotImplemented"),
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_rule_that_makes_no_sense_is_refused_and_changes_nothing(s3, ruled, case):
    put(s3, ruled, rule("before"))
    rules, code = REFUSED[case]
    assert refused(s3, ruled, *rules) == code
    assert [r["ID"] for r in get(s3, ruled)] == ["before"]


@pytest.mark.parametrize("call", ["get_bucket_lifecycle_configuration", "delete_bucket_lifecycle"])
def test_rules_of_no_bucket_are_not_found(s3, call):
    assert refusal(getattr(s3, call), Bucket="case-no-such-bucket") == (404, "NoSuchBucket")


# What is announced


def announced(answer):
    return answer.get("Expiration")


@pytest.fixture(scope="module")
def diary(s3):
    """Rules for prefixes, tags and sizes that lie far ahead."""
    name = fresh_bucket(s3)
    put(
        s3,
        name,
        rule("ten days", prefix="ten/", Expiration={"Days": 10}),
        rule("one", prefix="ten/one/", Expiration={"Days": 1}),
        rule("dated", prefix="dated/", Expiration={"Date": FUTURE}),
        rule("tagged", Filter={"Tag": TAG}, Expiration={"Days": 5}),
        rule("large", Filter={"And": {"Prefix": "size/", "ObjectSizeGreaterThan": 3}}, Expiration={"Days": 5}),
        rule("off", prefix="off/", status="Disabled"),
    )
    return name


@pytest.mark.parametrize("call", ["get_object", "head_object"])
def test_a_read_announces_the_end(s3, diary, call):
    s3.put_object(Bucket=diary, Key="ten/a", Body=b"1")
    said = announced(getattr(s3, call)(Bucket=diary, Key="ten/a"))
    assert said.endswith('rule-id="ten%20days"') and " 00:00:00 GMT" in said


def test_a_put_announces_the_end(s3, diary):
    assert 'rule-id="ten%20days"' in announced(s3.put_object(Bucket=diary, Key="ten/b", Body=b"1"))


def test_days_end_at_midnight(s3, diary):
    said = announced(s3.put_object(Bucket=diary, Key="ten/c", Body=b"1"))
    date = datetime.datetime.strptime(said.split('"')[1], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=datetime.UTC)
    written = s3.head_object(Bucket=diary, Key="ten/c")["LastModified"]
    assert datetime.timedelta(days=10) <= date - written < datetime.timedelta(days=11)


def test_the_earliest_of_several_rules_is_announced(s3, diary):
    assert 'rule-id="one"' in announced(s3.put_object(Bucket=diary, Key="ten/one/a", Body=b"1"))


def test_a_date_is_announced_as_it_is(s3, diary):
    said = announced(s3.put_object(Bucket=diary, Key="dated/a", Body=b"1"))
    assert said == 'expiry-date="Thu, 01 Jan 2099 00:00:00 GMT", rule-id="dated"'


def test_a_tag_decides_what_is_announced(s3, diary):
    assert announced(s3.put_object(Bucket=diary, Key="t1", Body=b"1")) is None
    assert 'rule-id="tagged"' in announced(s3.put_object(Bucket=diary, Key="t2", Body=b"1", Tagging="k=v"))


@pytest.mark.parametrize(("size", "covered"), [(3, False), (4, True)])
def test_a_size_decides_what_is_announced(s3, diary, size, covered):
    said = announced(s3.put_object(Bucket=diary, Key=f"size/{size}", Body=b"x" * size))
    assert (said is not None) == covered


def test_a_disabled_rule_announces_nothing(s3, diary):
    assert announced(s3.put_object(Bucket=diary, Key="off/a", Body=b"1")) is None


def test_a_copy_announces_the_end(s3, diary):
    s3.put_object(Bucket=diary, Key="source", Body=b"1")
    answer = s3.copy_object(Bucket=diary, Key="ten/copy", CopySource={"Bucket": diary, "Key": "source"})
    assert 'rule-id="ten%20days"' in announced(answer)


# What is deleted: the worker runs with the gateway's upkeep


def until(done, seconds=20):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the worker did not get to it"
        time.sleep(0.05)


def test_an_object_past_its_date_goes_and_others_stay(s3):
    name = fresh_bucket(s3)
    for key in ("old/a", "old/b", "new"):
        s3.put_object(Bucket=name, Key=key, Body=b"1")
    put(s3, name, rule(prefix="old/", Expiration={"Date": MIDNIGHT}))
    until(lambda: keys(s3.list_objects_v2(Bucket=name)) == ["new"])


def test_only_tagged_objects_go_where_the_rule_says_so(s3):
    name = fresh_bucket(s3)
    s3.put_object(Bucket=name, Key="a", Body=b"1", Tagging="k=v")
    s3.put_object(Bucket=name, Key="b", Body=b"1", Tagging="k=w")
    put(s3, name, rule(Filter={"Tag": TAG}, Expiration={"Date": MIDNIGHT}))
    until(lambda: keys(s3.list_objects_v2(Bucket=name)) == ["b"])


def test_where_versions_are_kept_expiry_puts_a_marker(s3):
    name = versioned_bucket(s3)
    only = put_versions(s3, name, "a", b"1")[0]
    put(s3, name, rule(Expiration={"Date": MIDNIGHT}))
    until(lambda: keys(s3.list_objects_v2(Bucket=name)) == [])
    assert [v[0] for v in versions_of(s3, name, "a") if v[2] == "object"] == [only]
    assert read(s3, name, "a", VersionId=only) == b"1"


def test_a_marker_with_nothing_behind_it_goes(s3):
    name = versioned_bucket(s3)
    only = put_versions(s3, name, "with", b"1")[0]
    for key in ("with", "without"):
        s3.delete_object(Bucket=name, Key=key)
    put(s3, name, rule(Expiration={"ExpiredObjectDeleteMarker": True}))
    until(lambda: versions_of(s3, name, "without") == [])
    assert [v[0] for v in versions_of(s3, name, "with") if v[2] == "object"] == [only]


def test_a_locked_version_outlives_its_expiry(s3):
    name = fresh_bucket(s3, ObjectLockEnabledForBucket=True)
    held = s3.put_object(Bucket=name, Key="a", Body=b"1", ObjectLockLegalHoldStatus="ON")["VersionId"]
    put(s3, name, rule(Expiration={"Date": MIDNIGHT}))
    until(lambda: keys(s3.list_objects_v2(Bucket=name)) == [])
    assert read(s3, name, "a", VersionId=held) == b"1"
