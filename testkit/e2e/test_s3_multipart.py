"""Multipart uploads: parts, completion, copies of parts, listings."""

import hashlib
import http.client

import pytest

from s3_cases import *  # noqa: F403
from s3_cases import PART, fresh_bucket, read, refusal, some_bytes, tag_of

NO_UPLOAD = (404, "NoSuchUpload")
INVALID = (400, "InvalidArgument")


class Upload:
    """An upload under way."""

    def __init__(self, s3, bucket, key, **options):
        self.s3, self.sent = s3, {}
        self.id = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]
        self.where = {"Bucket": bucket, "Key": key, "UploadId": self.id}

    def part(self, number, body):
        answer = self.s3.upload_part(**self.where, PartNumber=number, Body=body)
        self.sent[number] = answer["ETag"]
        return answer["ETag"]

    def named(self, *numbers):
        numbers = numbers or sorted(self.sent)
        return {"Parts": [{"PartNumber": n, "ETag": self.sent[n]} for n in numbers]}

    def complete(self, *numbers, **options):
        return self.s3.complete_multipart_upload(**self.where, MultipartUpload=self.named(*numbers), **options)


@pytest.fixture
def upload(s3, plain, key):
    return Upload(s3, plain, key)


@pytest.fixture(scope="module")
def whole(s3, plain):
    """An object of three parts with a checksum: its key and its parts."""
    parts = [some_bytes(PART, 1), some_bytes(PART, 2), some_bytes(1000, 3)]
    made = Upload(s3, plain, "whole", ChecksumAlgorithm="SHA256")
    named = []
    for number, body in enumerate(parts, 1):
        answer = s3.upload_part(**made.where, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
        named.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": answer["ChecksumSHA256"]})
    s3.complete_multipart_upload(**made.where, MultipartUpload={"Parts": named})
    return "whole", parts, named


# Parts


def test_one_small_part_is_an_object(s3, upload):
    upload.part(1, b"small")
    answer = upload.complete()
    assert answer["ETag"] == f'"{hashlib.md5(hashlib.md5(b"small").digest()).hexdigest()}-1"'
    assert read(s3, answer["Bucket"], answer["Key"]) == b"small"


def test_an_empty_part_is_an_empty_object(s3, upload):
    upload.part(1, b"")
    answer = upload.complete()
    assert read(s3, answer["Bucket"], answer["Key"]) == b""


def test_parts_need_not_be_numbered_without_gaps(s3, upload):
    for number, body in ((7, b"z" * PART), (9_999, b"end"), (3, b"a" * PART)):
        upload.part(number, body)
    answer = upload.complete()
    assert read(s3, answer["Bucket"], answer["Key"]) == b"a" * PART + b"z" * PART + b"end"


def test_a_part_that_is_sent_again_replaces_the_first(s3, upload):
    upload.part(1, b"first")
    upload.part(1, b"second")
    upload.complete()
    assert read(s3, upload.where["Bucket"], upload.where["Key"]) == b"second"


def test_the_tag_of_a_replaced_part_is_not_accepted(upload):
    old = upload.part(1, b"first")
    upload.part(1, b"second")
    upload.sent[1] = old
    assert refusal(upload.complete) == (400, "InvalidPart")


def test_parts_that_are_not_named_are_left_out(s3, upload):
    for number in (1, 2, 3):
        upload.part(number, b"%d" % number * PART)
    upload.complete(1, 3)
    assert read(s3, upload.where["Bucket"], upload.where["Key"]) == b"1" * PART + b"3" * PART


def test_a_part_says_its_tag(upload):
    assert upload.part(1, b"abc") == tag_of(b"abc")


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_part_numbers_have_their_limits(s3, upload, number):
    assert refusal(s3.upload_part, **upload.where, PartNumber=number, Body=b"x") == INVALID


def test_the_last_number_is_ten_thousand(upload):
    upload.part(10_000, b"x")
    upload.complete()


def test_a_part_with_a_wrong_digest_is_not_kept(s3, upload):
    ask = {**upload.where, "PartNumber": 1, "Body": b"abc", "ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    assert refusal(s3.upload_part, **ask) == (400, "BadDigest")
    assert "Parts" not in s3.list_parts(**upload.where)


# Completion


def test_a_small_part_in_the_middle_is_refused(upload):
    upload.part(1, b"too small")
    upload.part(2, b"end")
    assert refusal(upload.complete) == (400, "EntityTooSmall")


def test_parts_out_of_order_are_refused(upload):
    upload.part(1, b"1" * PART)
    upload.part(2, b"2" * PART)
    assert refusal(lambda: upload.complete(2, 1)) == (400, "InvalidPartOrder")


def test_a_part_named_twice_is_refused(upload):
    upload.part(1, b"1" * PART)
    assert refusal(lambda: upload.complete(1, 1)) == (400, "InvalidPartOrder")


def test_a_part_that_was_never_sent_is_refused(upload):
    upload.part(1, b"1")
    upload.sent[2] = tag_of(b"2")
    assert refusal(upload.complete) == (400, "InvalidPart")


def test_a_completion_without_parts_is_refused(s3, upload):
    upload.part(1, b"1")
    ask = {**upload.where, "MultipartUpload": {"Parts": []}}
    assert refusal(s3.complete_multipart_upload, **ask) == (400, "MalformedXML")


def test_a_refused_completion_leaves_the_upload(s3, upload):
    upload.part(1, b"1")
    upload.sent[2] = tag_of(b"2")
    assert refusal(upload.complete)[0] == 400
    upload.complete(1)
    assert read(s3, upload.where["Bucket"], upload.where["Key"]) == b"1"


@pytest.mark.parametrize(("size", "fits"), [(3, True), (4, False)])
def test_the_size_of_the_whole_may_be_announced(upload, size, fits):
    upload.part(1, b"abc")
    if fits:
        upload.complete(MpuObjectSize=size)
    else:
        assert refusal(lambda: upload.complete(MpuObjectSize=size)) == (400, "InvalidRequest")


def test_after_completion_the_upload_is_gone(s3, upload):
    upload.part(1, b"1")
    upload.complete()
    assert refusal(s3.list_parts, **upload.where) == NO_UPLOAD
    assert refusal(s3.upload_part, **upload.where, PartNumber=1, Body=b"x") == NO_UPLOAD
    assert refusal(s3.abort_multipart_upload, **upload.where) == NO_UPLOAD


def test_a_repeated_completion_names_the_same_version(s3, kept, key):
    made = Upload(s3, kept, key)
    made.part(1, b"1")
    first, second = made.complete(), made.complete()
    assert first["VersionId"] == second["VersionId"] and first["ETag"] == second["ETag"]


@pytest.mark.parametrize("call", ["list_parts", "abort_multipart_upload"])
@pytest.mark.parametrize("name", ["unknown", "0" * 32])
def test_an_upload_that_is_not_there_is_not_found(s3, plain, key, call, name):
    assert refusal(getattr(s3, call), Bucket=plain, Key=key, UploadId=name) == NO_UPLOAD


def test_an_upload_belongs_to_its_key(s3, upload):
    ask = {**upload.where, "Key": "another"}
    assert refusal(s3.upload_part, **ask, PartNumber=1, Body=b"x") == NO_UPLOAD


def test_uploads_of_one_key_do_not_touch_each_other(s3, plain, key):
    one, two = Upload(s3, plain, key), Upload(s3, plain, key)
    one.part(1, b"one")
    two.part(1, b"two")
    two.complete()
    assert read(s3, plain, key) == b"two"
    one.complete()
    assert read(s3, plain, key) == b"one"


def test_an_upload_to_no_bucket_is_refused(s3):
    ask = {"Bucket": "case-no-such-bucket", "Key": "k"}
    assert refusal(s3.create_multipart_upload, **ask) == (404, "NoSuchBucket")


# Reading by part


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("call", ["get_object", "head_object"])
def test_a_part_can_be_read_alone(s3, plain, whole, number, call):
    key, parts, _ = whole
    got = getattr(s3, call)(Bucket=plain, Key=key, PartNumber=number)
    assert (got["ContentLength"], got["PartsCount"]) == (len(parts[number - 1]), 3)
    if call == "get_object":
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["Body"].read() == parts[number - 1]


def test_a_part_that_is_not_there_cannot_be_read(s3, plain, whole):
    assert refusal(s3.get_object, Bucket=plain, Key=whole[0], PartNumber=4)[0] in (400, 416)


def test_an_object_put_at_once_is_its_own_first_part(s3, plain, key):
    s3.put_object(Bucket=plain, Key=key, Body=b"abc")
    got = s3.get_object(Bucket=plain, Key=key, PartNumber=1)
    assert got["Body"].read() == b"abc" and "PartsCount" not in got


def test_a_part_and_a_range_do_not_go_together(s3, plain, whole):
    ask = {"Bucket": plain, "Key": whole[0], "PartNumber": 1, "Range": "bytes=0-1"}
    assert refusal(s3.get_object, **ask) == (400, "InvalidRequest")


# Attributes


def attributes(s3, plain, key, *names, **more):
    return s3.get_object_attributes(Bucket=plain, Key=key, ObjectAttributes=list(names), **more)


def test_only_the_attributes_asked_for_are_told(s3, plain, whole):
    answer = attributes(s3, plain, whole[0], "ObjectSize")
    assert answer["ObjectSize"] == 2 * PART + 1000
    assert not {"ETag", "Checksum", "ObjectParts", "StorageClass"} & set(answer)


def test_all_attributes_are_told(s3, plain, whole):
    key, parts, named = whole
    answer = attributes(s3, plain, key, "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
    assert answer["ETag"].strip('"').endswith("-3") and answer["StorageClass"] == "STANDARD"
    assert answer["Checksum"]["ChecksumType"] == "COMPOSITE"
    told = [(p["PartNumber"], p["Size"], p["ChecksumSHA256"]) for p in answer["ObjectParts"]["Parts"]]
    assert told == [(n["PartNumber"], len(b), n["ChecksumSHA256"]) for n, b in zip(named, parts)]
    assert answer["ObjectParts"]["TotalPartsCount"] == 3


def test_parts_are_told_page_by_page(s3, plain, whole):
    first = attributes(s3, plain, whole[0], "ObjectParts", MaxParts=2)["ObjectParts"]
    assert ([p["PartNumber"] for p in first["Parts"]], first["IsTruncated"]) == ([1, 2], True)
    more = {"PartNumberMarker": first["NextPartNumberMarker"]}
    second = attributes(s3, plain, whole[0], "ObjectParts", **more)["ObjectParts"]
    assert ([p["PartNumber"] for p in second["Parts"]], second["IsTruncated"]) == ([3], False)


def test_an_object_put_at_once_has_no_parts_to_tell(s3, plain, key):
    s3.put_object(Bucket=plain, Key=key, Body=b"abc")
    assert "ObjectParts" not in attributes(s3, plain, key, "ObjectParts", "ETag")


def test_an_unknown_attribute_is_refused(s3, plain, whole):
    assert refusal(lambda: attributes(s3, plain, whole[0], "Colour")) == INVALID


def test_attributes_of_nothing_are_not_found(s3, plain, key):
    assert refusal(lambda: attributes(s3, plain, key, "ETag")) == (404, "NoSuchKey")


# Copies of parts


def copy(s3, upload, number, source, **more):
    answer = s3.upload_part_copy(**upload.where, PartNumber=number, CopySource=source, **more)
    upload.sent[number] = answer["CopyPartResult"]["ETag"]


def test_a_part_is_copied_whole(s3, plain, whole, upload):
    key, parts, _ = whole
    copy(s3, upload, 1, {"Bucket": plain, "Key": key})
    upload.complete()
    assert read(s3, plain, upload.where["Key"]) == b"".join(parts)


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (100, 199), (PART - 5, PART + 5), (0, 2 * PART + 999)], ids=str
)
def test_a_range_is_copied_as_a_part(s3, plain, whole, upload, first, last):
    key, parts, _ = whole
    copy(s3, upload, 1, {"Bucket": plain, "Key": key}, CopySourceRange=f"bytes={first}-{last}")
    upload.complete()
    assert read(s3, plain, upload.where["Key"]) == b"".join(parts)[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=0-10486760", "bytes=5-", "bytes=-5", "0-5", "bytes=5-4", "bytes=a-b"])
def test_a_range_that_is_not_within_the_source_is_refused(s3, plain, whole, upload, asked):
    ask = {**upload.where, "PartNumber": 1, "CopySource": {"Bucket": plain, "Key": whole[0]}}
    assert refusal(s3.upload_part_copy, **ask, CopySourceRange=asked) == INVALID


def test_sent_and_copied_parts_make_one_object(s3, plain, whole, upload):
    upload.part(1, b"a" * PART)
    copy(s3, upload, 2, {"Bucket": plain, "Key": whole[0]}, CopySourceRange="bytes=10-19")
    upload.complete()
    assert read(s3, plain, upload.where["Key"]) == b"a" * PART + whole[1][0][10:20]


def test_a_part_of_nothing_is_not_copied(s3, plain, upload, key):
    ask = {**upload.where, "PartNumber": 1, "CopySource": {"Bucket": plain, "Key": key + "-none"}}
    assert refusal(s3.upload_part_copy, **ask) == (404, "NoSuchKey")


# Listings


def test_parts_are_listed_by_number(s3, upload):
    for number in (3, 1, 2):
        upload.part(number, b"x" * number)
    answer = s3.list_parts(**upload.where)
    assert [(p["PartNumber"], p["Size"], p["ETag"]) for p in answer["Parts"]] == [
        (n, n, tag_of(b"x" * n)) for n in (1, 2, 3)
    ]
    assert (answer["StorageClass"], answer["IsTruncated"]) == ("STANDARD", False)
    assert answer["Owner"]["ID"] == answer["Initiator"]["ID"]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_pages_of_parts_join(s3, plain, key, size):
    made = Upload(s3, plain, key)
    for number in (1, 2, 5):
        made.part(number, b"x")
    seen, more = [], {}
    for _ in range(5):
        page = s3.list_parts(**made.where, MaxParts=size, **more)
        seen += [p["PartNumber"] for p in page.get("Parts", [])]
        if not page["IsTruncated"]:
            break
        more = {"PartNumberMarker": page["NextPartNumberMarker"]}
    assert seen == [1, 2, 5]


@pytest.fixture(scope="module")
def begun(s3):
    """A bucket with uploads of these keys, two of one of them."""
    name = fresh_bucket(s3)
    for key in ("a", "b/1", "b/2", "b/2", "c d"):
        s3.create_multipart_upload(Bucket=name, Key=key)
    return name


def begun_keys(answer):
    return [u["Key"] for u in answer.get("Uploads", [])]


def test_uploads_are_listed_by_key(s3, begun):
    answer = s3.list_multipart_uploads(Bucket=begun)
    assert begun_keys(answer) == ["a", "b/1", "b/2", "b/2", "c d"]
    first = answer["Uploads"][0]
    assert first["StorageClass"] == "STANDARD" and first["Initiated"] and first["Owner"]["ID"]


@pytest.mark.parametrize(
    ("prefix", "delimiter", "found", "folders"),
    [
        ("", "/", ["a", "c d"], ["b/"]),
        ("b/", "", ["b/1", "b/2", "b/2"], []),
        ("b/", "/", ["b/1", "b/2", "b/2"], []),
        ("b", "/", [], ["b/"]),
        ("none", "", [], []),
    ],
)
def test_uploads_by_prefix_and_delimiter(s3, begun, prefix, delimiter, found, folders):
    answer = s3.list_multipart_uploads(Bucket=begun, Prefix=prefix, Delimiter=delimiter)
    assert begun_keys(answer) == found
    assert [p["Prefix"] for p in answer.get("CommonPrefixes", [])] == folders


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_pages_of_uploads_join(s3, begun, size, delimiter):
    seen, more = [], {}
    for _ in range(7):
        page = s3.list_multipart_uploads(Bucket=begun, MaxUploads=size, Delimiter=delimiter, **more)
        seen += begun_keys(page) + [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        more = {"KeyMarker": page["NextKeyMarker"]}
        if page.get("NextUploadIdMarker"):
            more["UploadIdMarker"] = page["NextUploadIdMarker"]
    expected = ["a", "b/", "c d"] if delimiter else ["a", "b/1", "b/2", "b/2", "c d"]
    assert sorted(seen) == expected


def test_uploads_are_no_objects(s3, begun):
    assert s3.list_objects_v2(Bucket=begun)["KeyCount"] == 0


def test_names_of_uploads_are_encoded_on_demand(s3, begun):
    answer = s3.list_multipart_uploads(Bucket=begun, EncodingType="url", Prefix="c")
    assert begun_keys(answer) == ["c%20d"]


def test_a_bucket_with_uploads_only_can_be_deleted(s3):
    name = fresh_bucket(s3)
    s3.create_multipart_upload(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)


def test_metadata_of_an_upload_is_the_objects(s3, plain, key):
    made = Upload(s3, plain, key, Metadata={"a": "b"}, ContentType="x/y", CacheControl="no-store")
    made.part(1, b"1")
    made.complete()
    head = s3.head_object(Bucket=plain, Key=key)
    assert (head["Metadata"], head["ContentType"], head["CacheControl"]) == ({"a": "b"}, "x/y", "no-store")


def test_a_refused_body_ends_its_connection(devnet, s3):
    path = f"/{fresh_bucket(s3)}/k?partNumber=1&uploadId=none"
    link = http.client.HTTPConnection(devnet["s3"]["endpoint"].removeprefix("http://"), timeout=30)
    link.request("PUT", path, body=b"x" * 100_000)
    refused = link.getresponse()
    assert (refused.status, refused.getheader("connection")) == (403, "close")
    link.close()
