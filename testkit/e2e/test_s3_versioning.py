"""Versions of objects: names, delete markers, suspension, listing."""

import re

import pytest

from s3_cases import *  # noqa: F403
from s3_cases import fresh_bucket, put_versions, read, refusal, refused_headers, some_bytes, tag_of
from s3_cases import versioned_bucket, versioning, versions_of

# The state of a bucket


def test_a_new_bucket_never_had_versions(s3, plain):
    assert "Status" not in s3.get_bucket_versioning(Bucket=plain)


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_the_state_of_versioning_is_remembered(s3, status):
    name = fresh_bucket(s3)
    versioning(s3, name, status)
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == status


def test_versioning_can_be_suspended_and_resumed(s3):
    name = versioned_bucket(s3)
    for status in ("Suspended", "Enabled", "Enabled"):
        versioning(s3, name, status)
        assert s3.get_bucket_versioning(Bucket=name)["Status"] == status


def test_an_unknown_state_is_refused(s3, plain):
    ask = {"Bucket": plain, "VersioningConfiguration": {"Status": "Off"}}
    assert refusal(s3.put_bucket_versioning, **ask) == (400, "MalformedXML")


def test_deletion_by_a_second_factor_is_not_implemented(s3, plain):
    ask = {"Bucket": plain, "VersioningConfiguration": {"Status": "Enabled", "MFADelete": "Enabled"}}
    assert refusal(s3.put_bucket_versioning, **ask) == (501, "NotImplemented")


@pytest.mark.parametrize("call", ["get_bucket_versioning", "list_object_versions"])
def test_versions_of_no_bucket_are_not_found(s3, call):
    assert refusal(getattr(s3, call), Bucket="case-no-such-bucket") == (404, "NoSuchBucket")


# Without versions


def test_a_put_without_versioning_names_no_version(s3, plain, key):
    assert "VersionId" not in s3.put_object(Bucket=plain, Key=key, Body=b"1")
    assert "VersionId" not in s3.get_object(Bucket=plain, Key=key)


def test_without_versioning_an_overwrite_leaves_one_null_version(s3, plain, key):
    put_versions(s3, plain, key, b"1", b"2")
    assert versions_of(s3, plain, key) == [("null", True, "object")]


def test_without_versioning_a_delete_leaves_no_marker(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    answer = s3.delete_object(Bucket=plain, Key=key)
    assert "DeleteMarker" not in answer and "VersionId" not in answer
    assert versions_of(s3, plain, key) == []


def test_without_versioning_null_names_the_object(s3, plain, key):
    put_versions(s3, plain, key, b"1")
    assert read(s3, plain, key, VersionId="null") == b"1"
    s3.delete_object(Bucket=plain, Key=key, VersionId="null")
    assert refusal(s3.get_object, Bucket=plain, Key=key) == (404, "NoSuchKey")


# Writing versions


def test_each_put_makes_a_version_with_a_name_of_its_own(s3, kept, key):
    ids = put_versions(s3, kept, key, b"1", b"22", b"333")
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]+", name) for name in ids)


def test_names_of_versions_rise_with_time(s3, kept, key):
    ids = put_versions(s3, kept, key, *[b"x"] * 20)
    assert ids == sorted(ids)


def test_every_version_is_read_by_its_name(s3, kept, key):
    bodies = [some_bytes(n, n) for n in (10, 5000, 100_000)]
    for name, body in zip(put_versions(s3, kept, key, *bodies), bodies):
        got = s3.get_object(Bucket=kept, Key=key, VersionId=name)
        assert got["Body"].read() == body
        assert (got["VersionId"], got["ETag"]) == (name, tag_of(body))


def test_a_read_without_a_name_gets_the_newest_and_says_which(s3, kept, key):
    ids = put_versions(s3, kept, key, b"1", b"2")
    got = s3.get_object(Bucket=kept, Key=key)
    assert (got["Body"].read(), got["VersionId"]) == (b"2", ids[-1])


def test_a_head_finds_every_version(s3, kept, key):
    for name, size in zip(put_versions(s3, kept, key, b"1", b"22"), (1, 2)):
        head = s3.head_object(Bucket=kept, Key=key, VersionId=name)
        assert (head["ContentLength"], head["VersionId"]) == (size, name)


def test_a_version_keeps_its_own_metadata(s3, kept, key):
    one = s3.put_object(Bucket=kept, Key=key, Body=b"", Metadata={"n": "1"}, ContentType="a/b")["VersionId"]
    s3.put_object(Bucket=kept, Key=key, Body=b"", Metadata={"n": "2"})
    old = s3.head_object(Bucket=kept, Key=key, VersionId=one)
    assert (old["Metadata"], old["ContentType"]) == ({"n": "1"}, "a/b")


def test_a_range_of_an_old_version_is_its_own(s3, kept, key):
    old = put_versions(s3, kept, key, b"0123456789", b"abcdefghij")[0]
    assert read(s3, kept, key, VersionId=old, Range="bytes=2-4") == b"234"


def test_a_completed_upload_is_a_version(s3, kept, key):
    before = put_versions(s3, kept, key, b"before")[0]
    upload = s3.create_multipart_upload(Bucket=kept, Key=key)["UploadId"]
    part = s3.upload_part(Bucket=kept, Key=key, UploadId=upload, PartNumber=1, Body=b"parts")
    made = s3.complete_multipart_upload(
        Bucket=kept, Key=key, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )["VersionId"]
    assert read(s3, kept, key) == b"parts"
    assert read(s3, kept, key, VersionId=made) == b"parts"
    assert read(s3, kept, key, VersionId=before) == b"before"


def test_what_was_there_before_versioning_is_the_null_version(s3, key):
    name = fresh_bucket(s3)
    put_versions(s3, name, key, b"before")
    versioning(s3, name, "Enabled")
    new = put_versions(s3, name, key, b"after")[0]
    assert read(s3, name, key, VersionId="null") == b"before"
    assert versions_of(s3, name, key) == [(new, True, "object"), ("null", False, "object")]
    assert s3.get_object(Bucket=name, Key=key, VersionId="null")["VersionId"] == "null"


# Names that are wrong


@pytest.mark.parametrize("call", ["get_object", "head_object", "delete_object", "get_object_tagging"])
def test_a_name_that_is_none_of_ours_is_refused(s3, kept, key, call):
    put_versions(s3, kept, key, b"1")
    assert refusal(getattr(s3, call), Bucket=kept, Key=key, VersionId="not-a-version")[0] == 400


@pytest.mark.parametrize("call", ["get_object", "get_object_tagging"])
def test_a_version_that_is_not_there_is_not_found(s3, kept, key, call):
    put_versions(s3, kept, key, b"1")
    ask = {"Bucket": kept, "Key": key, "VersionId": "00000000deadbeef"}
    assert refusal(getattr(s3, call), **ask) == (404, "NoSuchVersion")


def test_a_version_of_another_key_is_not_found(s3, kept, key):
    name = put_versions(s3, kept, key, b"1")[0]
    put_versions(s3, kept, key + "-other", b"2")
    assert refusal(s3.get_object, Bucket=kept, Key=key + "-other", VersionId=name) == (404, "NoSuchVersion")


def test_deleting_a_version_that_is_not_there_succeeds(s3, kept, key):
    put_versions(s3, kept, key, b"1")
    s3.delete_object(Bucket=kept, Key=key, VersionId="00000000deadbeef")
    assert read(s3, kept, key) == b"1"


# Delete markers


def test_a_delete_puts_a_marker_over_the_object(s3, kept, key):
    ids = put_versions(s3, kept, key, b"1")
    answer = s3.delete_object(Bucket=kept, Key=key)
    assert answer["DeleteMarker"] is True
    assert versions_of(s3, kept, key) == [(ids[0], False, "object"), (answer["VersionId"], True, "marker")]


def test_under_a_marker_nothing_is_found_and_the_answer_says_why(s3, kept, key):
    put_versions(s3, kept, key, b"1")
    marker = s3.delete_object(Bucket=kept, Key=key)["VersionId"]
    for call in (s3.get_object, s3.head_object):
        status, headers = refused_headers(call, Bucket=kept, Key=key)
        assert status == 404
        assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)


def test_under_a_marker_old_versions_are_read(s3, kept, key):
    old = put_versions(s3, kept, key, b"1")[0]
    s3.delete_object(Bucket=kept, Key=key)
    assert read(s3, kept, key, VersionId=old) == b"1"


@pytest.mark.parametrize("call", ["get_object", "head_object"])
def test_a_marker_cannot_be_read(s3, kept, key, call):
    marker = s3.delete_object(Bucket=kept, Key=key)["VersionId"]
    status, headers = refused_headers(getattr(s3, call), Bucket=kept, Key=key, VersionId=marker)
    assert (status, headers["x-amz-delete-marker"], headers["allow"]) == (405, "true", "DELETE")
    assert "last-modified" in headers


def test_deleting_the_marker_brings_the_object_back(s3, kept, key):
    put_versions(s3, kept, key, b"1")
    marker = s3.delete_object(Bucket=kept, Key=key)["VersionId"]
    answer = s3.delete_object(Bucket=kept, Key=key, VersionId=marker)
    assert (answer["DeleteMarker"], answer["VersionId"]) == (True, marker)
    assert read(s3, kept, key) == b"1"


def test_deletes_pile_up_markers(s3, kept, key):
    markers = [s3.delete_object(Bucket=kept, Key=key)["VersionId"] for _ in range(3)]
    assert len(set(markers)) == 3
    assert [v[0] for v in versions_of(s3, kept, key)] == markers[::-1]


def test_a_put_over_a_marker_is_current(s3, kept, key):
    s3.delete_object(Bucket=kept, Key=key)
    put_versions(s3, kept, key, b"again")
    assert read(s3, kept, key) == b"again"


def test_a_deleted_key_is_not_listed(s3, kept, key):
    put_versions(s3, kept, key, b"1")
    s3.delete_object(Bucket=kept, Key=key)
    assert s3.list_objects_v2(Bucket=kept, Prefix=key)["KeyCount"] == 0


@pytest.mark.parametrize("call", ["get_object_tagging", "get_object_attributes"])
def test_a_marker_has_no_labels_and_no_attributes(s3, kept, key, call):
    marker = s3.delete_object(Bucket=kept, Key=key)["VersionId"]
    more = {"ObjectAttributes": ["ETag"]} if call == "get_object_attributes" else {}
    assert refusal(getattr(s3, call), Bucket=kept, Key=key, VersionId=marker, **more)[0] == 405


# Removing versions


def test_a_removed_version_is_gone_and_the_others_stay(s3, kept, key):
    ids = put_versions(s3, kept, key, b"1", b"2", b"3")
    answer = s3.delete_object(Bucket=kept, Key=key, VersionId=ids[1])
    assert answer["VersionId"] == ids[1] and "DeleteMarker" not in answer
    assert [v[0] for v in versions_of(s3, kept, key)] == [ids[2], ids[0]]
    assert refusal(s3.get_object, Bucket=kept, Key=key, VersionId=ids[1]) == (404, "NoSuchVersion")


def test_removing_the_newest_makes_the_one_before_current(s3, kept, key):
    ids = put_versions(s3, kept, key, b"1", b"2")
    s3.delete_object(Bucket=kept, Key=key, VersionId=ids[1])
    assert read(s3, kept, key) == b"1"
    assert versions_of(s3, kept, key) == [(ids[0], True, "object")]


def test_removing_the_last_version_leaves_nothing(s3, kept, key):
    only = put_versions(s3, kept, key, b"1")[0]
    s3.delete_object(Bucket=kept, Key=key, VersionId=only)
    assert refusal(s3.get_object, Bucket=kept, Key=key) == (404, "NoSuchKey")
    assert versions_of(s3, kept, key) == []


def test_many_versions_are_removed_at_once(s3, kept, key):
    ids = put_versions(s3, kept, key, b"1", b"2", b"3")
    marker = s3.delete_object(Bucket=kept, Key=key)["VersionId"]
    doomed = [{"Key": key, "VersionId": name} for name in (ids[0], ids[2], marker)]
    answer = s3.delete_objects(Bucket=kept, Delete={"Objects": doomed})
    assert not answer.get("Errors")
    removed = {d["VersionId"]: d.get("DeleteMarker", False) for d in answer["Deleted"]}
    assert removed == {ids[0]: False, ids[2]: False, marker: True}
    assert read(s3, kept, key) == b"2"


def test_many_keys_deleted_at_once_get_markers(s3, kept, key):
    put_versions(s3, kept, key, b"1")
    answer = s3.delete_objects(Bucket=kept, Delete={"Objects": [{"Key": key}]})
    (deleted,) = answer["Deleted"]
    assert deleted["DeleteMarker"] is True and "VersionId" not in deleted
    assert (deleted["DeleteMarkerVersionId"], True, "marker") in versions_of(s3, kept, key)


def test_a_quiet_deletion_says_only_what_failed(s3, kept, key):
    put_versions(s3, kept, key, b"1")
    doomed = [{"Key": key}, {"Key": key, "VersionId": "not-a-version"}]
    answer = s3.delete_objects(Bucket=kept, Delete={"Objects": doomed, "Quiet": True})
    assert not answer.get("Deleted")
    assert [(e["Key"], e["VersionId"], e["Code"]) for e in answer["Errors"]] == [
        (key, "not-a-version", "InvalidArgument")
    ]


@pytest.mark.parametrize("left", ["version", "marker"])
def test_a_bucket_with_versions_left_is_not_deleted(s3, left):
    name = versioned_bucket(s3)
    if left == "version":
        put_versions(s3, name, "k", b"1")
        s3.delete_object(Bucket=name, Key="k")
    else:
        s3.delete_object(Bucket=name, Key="k")
    assert refusal(s3.delete_bucket, Bucket=name) == (409, "BucketNotEmpty")
    for version, _, _ in versions_of(s3, name, "k"):
        s3.delete_object(Bucket=name, Key="k", VersionId=version)
    s3.delete_bucket(Bucket=name)


# Copies


def test_a_copy_takes_the_version_that_is_named(s3, kept, key):
    ids = put_versions(s3, kept, key, b"old", b"new")
    source = {"Bucket": kept, "Key": key, "VersionId": ids[0]}
    answer = s3.copy_object(Bucket=kept, Key=key + "-copy", CopySource=source)
    assert answer["CopySourceVersionId"] == ids[0]
    assert read(s3, kept, key + "-copy", VersionId=answer["VersionId"]) == b"old"


def test_an_old_version_copied_onto_its_key_is_current_again(s3, kept, key):
    ids = put_versions(s3, kept, key, b"old", b"new")
    source = {"Bucket": kept, "Key": key, "VersionId": ids[0]}
    made = s3.copy_object(Bucket=kept, Key=key, CopySource=source)["VersionId"]
    assert read(s3, kept, key) == b"old"
    assert [v[0] for v in versions_of(s3, kept, key)] == [made, ids[1], ids[0]]


def test_a_deleted_object_cannot_be_copied(s3, kept, key):
    put_versions(s3, kept, key, b"1")
    s3.delete_object(Bucket=kept, Key=key)
    ask = {"Bucket": kept, "Key": key + "-copy", "CopySource": {"Bucket": kept, "Key": key}}
    assert refusal(s3.copy_object, **ask) == (404, "NoSuchKey")


def test_a_marker_cannot_be_copied(s3, kept, key):
    marker = s3.delete_object(Bucket=kept, Key=key)["VersionId"]
    source = {"Bucket": kept, "Key": key, "VersionId": marker}
    assert refusal(s3.copy_object, Bucket=kept, Key="x", CopySource=source) == (400, "InvalidRequest")


def test_a_part_is_copied_from_the_version_that_is_named(s3, kept, key):
    old = put_versions(s3, kept, key, b"old", b"new")[0]
    upload = s3.create_multipart_upload(Bucket=kept, Key=key)["UploadId"]
    where = {"Bucket": kept, "Key": key, "UploadId": upload}
    source = {"Bucket": kept, "Key": key, "VersionId": old}
    answer = s3.upload_part_copy(**where, PartNumber=1, CopySource=source)
    assert answer["CopySourceVersionId"] == old
    parts = [{"PartNumber": 1, "ETag": answer["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert read(s3, kept, key) == b"old"


# Suspended


@pytest.fixture
def halted(s3, key):
    """A suspended bucket whose key has one version from before."""
    name = versioned_bucket(s3)
    before = put_versions(s3, name, key, b"before")[0]
    versioning(s3, name, "Suspended")
    return name, before


def test_suspended_writes_are_the_null_version(s3, halted, key):
    name, before = halted
    assert s3.put_object(Bucket=name, Key=key, Body=b"1")["VersionId"] == "null"
    assert versions_of(s3, name, key) == [("null", True, "object"), (before, False, "object")]


def test_suspended_writes_replace_the_null_version_only(s3, halted, key):
    name, before = halted
    put_versions(s3, name, key, b"1", b"2")
    assert versions_of(s3, name, key) == [("null", True, "object"), (before, False, "object")]
    assert read(s3, name, key) == b"2"
    assert read(s3, name, key, VersionId=before) == b"before"


def test_a_suspended_delete_puts_a_null_marker_in_place_of_the_null_version(s3, halted, key):
    name, before = halted
    put_versions(s3, name, key, b"1")
    answer = s3.delete_object(Bucket=name, Key=key)
    assert (answer["DeleteMarker"], answer["VersionId"]) == (True, "null")
    assert versions_of(s3, name, key) == [(before, False, "object"), ("null", True, "marker")]


def test_a_suspended_put_replaces_the_null_marker(s3, halted, key):
    name, before = halted
    s3.delete_object(Bucket=name, Key=key)
    put_versions(s3, name, key, b"1")
    assert versions_of(s3, name, key) == [("null", True, "object"), (before, False, "object")]


def test_the_null_version_can_be_removed_by_name(s3, halted, key):
    name, _ = halted
    put_versions(s3, name, key, b"1")
    s3.delete_object(Bucket=name, Key=key, VersionId="null")
    assert read(s3, name, key) == b"before"


def test_after_resuming_the_null_version_stays_below(s3, halted, key):
    name, before = halted
    put_versions(s3, name, key, b"null")
    versioning(s3, name, "Enabled")
    new = put_versions(s3, name, key, b"new")[0]
    assert [v[0] for v in versions_of(s3, name, key)] == [new, "null", before]


# Listing versions


@pytest.fixture(scope="module")
def shelf(s3):
    """a: 3 versions; b/1, b/2: 2 each; c: 1 and a marker; d: a marker alone."""
    name = versioned_bucket(s3)
    for key, count in (("a", 3), ("b/1", 2), ("b/2", 2), ("c", 1)):
        put_versions(s3, name, key, *[b"x" * n for n in range(1, count + 1)])
    for key in ("c", "d"):
        s3.delete_object(Bucket=name, Key=key)
    return name


def rows(answer):
    """(key, version, latest) of everything in a page."""
    found = answer.get("Versions", []) + answer.get("DeleteMarkers", [])
    return sorted((v["Key"], v["VersionId"], v["IsLatest"]) for v in found)


def test_all_versions_and_markers_are_listed(s3, shelf):
    answer = s3.list_object_versions(Bucket=shelf)
    assert sorted(v["Key"] for v in answer["Versions"]) == ["a"] * 3 + ["b/1"] * 2 + ["b/2"] * 2 + ["c"]
    assert [m["Key"] for m in answer["DeleteMarkers"]] == ["c", "d"]
    assert answer["IsTruncated"] is False


def test_exactly_one_version_of_a_key_is_the_latest(s3, shelf):
    answer = s3.list_object_versions(Bucket=shelf)
    assert sorted(key for key, _, latest in rows(answer) if latest) == ["a", "b/1", "b/2", "c", "d"]


def test_versions_of_a_key_are_listed_newest_first(s3, shelf):
    sizes = [v["Size"] for v in s3.list_object_versions(Bucket=shelf, Prefix="a")["Versions"]]
    assert sizes == [3, 2, 1]


def test_a_listed_version_says_what_it_is(s3, shelf):
    first = s3.list_object_versions(Bucket=shelf, Prefix="a")["Versions"][0]
    assert (first["ETag"], first["StorageClass"]) == (tag_of(b"xxx"), "STANDARD")
    assert first["Owner"]["ID"] and first["LastModified"]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 1000])
def test_pages_of_versions_join_without_gap_or_repetition(s3, shelf, size):
    seen, markers = [], {}
    for _ in range(20):
        page = s3.list_object_versions(Bucket=shelf, MaxKeys=size, **markers)
        found = rows(page)
        assert len(found) <= size
        seen += found
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert sorted(seen) == rows(s3.list_object_versions(Bucket=shelf))


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_pages_of_versions_with_folders_join_too(s3, shelf, size):
    seen, markers = [], {}
    for _ in range(20):
        page = s3.list_object_versions(Bucket=shelf, MaxKeys=size, Delimiter="/", **markers)
        seen += [key for key, _, _ in rows(page)] + [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"]}
        if page.get("NextVersionIdMarker"):
            markers["VersionIdMarker"] = page["NextVersionIdMarker"]
    assert sorted(seen) == ["a", "a", "a", "b/", "c", "c", "d"]


def test_a_key_marker_alone_skips_all_versions_of_that_key(s3, shelf):
    answer = s3.list_object_versions(Bucket=shelf, KeyMarker="a")
    assert {key for key, _, _ in rows(answer)} == {"b/1", "b/2", "c", "d"}


def test_a_version_marker_needs_a_key_marker(s3, shelf):
    ask = {"Bucket": shelf, "VersionIdMarker": "00000000deadbeef"}
    assert refusal(s3.list_object_versions, **ask) == (400, "InvalidArgument")


def test_a_version_marker_that_was_removed_meanwhile_still_counts(s3, key):
    name = versioned_bucket(s3)
    ids = put_versions(s3, name, key, b"1", b"2", b"3")
    s3.delete_object(Bucket=name, Key=key, VersionId=ids[1])
    answer = s3.list_object_versions(Bucket=name, KeyMarker=key, VersionIdMarker=ids[1])
    assert [v["VersionId"] for v in answer["Versions"]] == [ids[0]]


@pytest.mark.parametrize(("prefix", "found"), [("b/", 4), ("b/1", 2), ("d", 1), ("none", 0)])
def test_a_prefix_selects_versions(s3, shelf, prefix, found):
    assert len(rows(s3.list_object_versions(Bucket=shelf, Prefix=prefix))) == found


def test_no_versions_are_listed_on_a_page_of_none(s3, shelf):
    answer = s3.list_object_versions(Bucket=shelf, MaxKeys=0)
    assert rows(answer) == [] and answer["IsTruncated"] is False


def test_a_negative_page_of_versions_is_refused(s3, shelf):
    assert refusal(s3.list_object_versions, Bucket=shelf, MaxKeys=-1) == (400, "InvalidArgument")


def test_odd_keys_are_listed_with_their_versions(s3):
    name = versioned_bucket(s3)
    odd = ["a b", "a+b", "a%20b", "\u00e9/\u4e2d", "tab\there"]
    for key in odd:
        put_versions(s3, name, key, b"1")
    answer = s3.list_object_versions(Bucket=name, EncodingType="url")
    assert answer["EncodingType"] == "url"
    plain = s3.list_object_versions(Bucket=name)
    assert sorted(v["Key"] for v in plain["Versions"]) == sorted(odd)
