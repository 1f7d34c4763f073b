"""S3 through boto3, in its default configuration."""

import base64
import datetime
import hashlib
import os
import random
import zlib

import botocore.auth
import pytest
from botocore.exceptions import ClientError

from conftest import s3_client

PART = 5 << 20


def some_bytes(size, seed=1):
    """Bytes that look random and are the same on every run."""
    return random.Random(seed).randbytes(size)


def read(s3, bucket, key, **options):
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()


def refusal(call, **arguments):
    """The (HTTP status, code) with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


# Buckets


def test_a_bucket_is_listed_until_it_is_deleted(s3):
    name = "e2e-bucket-life"
    s3.create_bucket(Bucket=name)
    s3.head_bucket(Bucket=name)
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket=name)
    assert name not in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert refusal(s3.head_bucket, Bucket=name)[0] == 404


def test_a_bucket_with_objects_is_not_deleted(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert refusal(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    assert read(s3, bucket, "a") == b"x"


def test_what_is_not_there_is_not_found(s3, bucket):
    assert refusal(s3.get_object, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    assert refusal(s3.head_object, Bucket=bucket, Key="none")[0] == 404
    assert refusal(s3.put_object, Bucket="e2e-no-such-bucket", Key="a", Body=b"") == (404, "NoSuchBucket")
    s3.delete_object(Bucket=bucket, Key="none")


# Objects


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 65535, 65536, 65537, 1 << 20, (8 << 20) + 1])
def test_an_object_comes_back_as_it_went(s3, bucket, size):
    body = some_bytes(size)
    put = s3.put_object(Bucket=bucket, Key="object", Body=body)
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    assert put["ETag"] == etag
    got = s3.get_object(Bucket=bucket, Key="object")
    assert got["Body"].read() == body
    assert (got["ContentLength"], got["ETag"]) == (size, etag)
    head = s3.head_object(Bucket=bucket, Key="object")
    assert (head["ContentLength"], head["ETag"]) == (size, etag)


def test_the_last_put_wins_and_a_delete_is_final(s3, bucket):
    for body in (b"first", b"second, longer", b"3"):
        s3.put_object(Bucket=bucket, Key="k", Body=body)
        assert read(s3, bucket, "k") == body
    s3.delete_object(Bucket=bucket, Key="k")
    assert refusal(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")


def test_metadata_and_headers_are_kept(s3, bucket):
    s3.put_object(
        Bucket=bucket,
        Key="m",
        Body=b"bread",
        ContentType="text/x-bread",
        ContentDisposition='attachment; filename="loaf"',
        CacheControl="max-age=60",
        Metadata={"oven": "stone", "minutes": "45"},
    )
    for answer in (s3.head_object(Bucket=bucket, Key="m"), s3.get_object(Bucket=bucket, Key="m")):
        assert answer["Metadata"] == {"oven": "stone", "minutes": "45"}
        assert answer["ContentType"] == "text/x-bread"
        assert answer["ContentDisposition"] == 'attachment; filename="loaf"'
        assert answer["CacheControl"] == "max-age=60"
        assert isinstance(answer["LastModified"], datetime.datetime)


def test_a_copy_keeps_or_replaces_the_metadata(s3, bucket):
    body = some_bytes(100_000)
    s3.put_object(Bucket=bucket, Key="from here", Body=body, Metadata={"a": "1"})
    source = {"Bucket": bucket, "Key": "from here"}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, Metadata={"b": "2"}, MetadataDirective="REPLACE")
    s3.delete_object(Bucket=bucket, Key="from here")
    assert read(s3, bucket, "kept") == body
    assert read(s3, bucket, "new") == body
    assert s3.head_object(Bucket=bucket, Key="kept")["Metadata"] == {"a": "1"}
    assert s3.head_object(Bucket=bucket, Key="new")["Metadata"] == {"b": "2"}


def test_a_wrong_checksum_is_refused_and_stores_nothing(s3, bucket):
    status, _ = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"abc", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    assert status == 400
    assert refusal(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")


# Ranges


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=65535-65536", 65535, 65536),
        ("bytes=100-199999", 100, 199999),
        ("bytes=299999-", 299999, 299999),
        ("bytes=299990-400000", 299990, 299999),
        ("bytes=-1", 299999, 299999),
        ("bytes=-70000", 230000, 299999),
        ("bytes=-400000", 0, 299999),
    ],
)
def test_a_range_is_exactly_these_bytes(s3, bucket, asked, first, last):
    body = some_bytes(300_000)
    s3.put_object(Bucket=bucket, Key="r", Body=body)
    got = s3.get_object(Bucket=bucket, Key="r", Range=asked)
    assert got["Body"].read() == body[first : last + 1]
    assert got["ContentRange"] == f"bytes {first}-{last}/300000"
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_behind_the_end_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="r", Body=b"0123456789")
    assert refusal(s3.get_object, Bucket=bucket, Key="r", Range="bytes=10-") == (416, "InvalidRange")


# Multipart


def test_multipart_of_three_parts_is_one_object(s3, bucket):
    parts = [some_bytes(PART, seed) for seed in (1, 2, 3)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big", Metadata={"a": "b"})["UploadId"]
    sent = []
    # Out of order, as parallel clients do.
    for number in (2, 3, 1):
        answer = s3.upload_part(
            Bucket=bucket, Key="big", UploadId=upload, PartNumber=number, Body=parts[number - 1]
        )
        sent.append({"PartNumber": number, "ETag": answer["ETag"]})
    listed = s3.list_parts(Bucket=bucket, Key="big", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, PART), (2, PART), (3, PART)]
    assert refusal(s3.get_object, Bucket=bucket, Key="big") == (404, "NoSuchKey")
    sent.sort(key=lambda part: part["PartNumber"])
    s3.complete_multipart_upload(Bucket=bucket, Key="big", UploadId=upload, MultipartUpload={"Parts": sent})
    assert read(s3, bucket, "big") == b"".join(parts)
    edge = read(s3, bucket, "big", Range=f"bytes={PART - 3}-{PART + 2}")
    assert edge == parts[0][-3:] + parts[1][:3]
    head = s3.head_object(Bucket=bucket, Key="big")
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    assert head["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    assert head["Metadata"] == {"a": "b"}
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def upload_with_checksum(s3, bucket, parts, kind):
    """An upload of these parts under CRC32: its id, and what completes it."""
    start = s3.create_multipart_upload(Bucket=bucket, Key="sum", ChecksumAlgorithm="CRC32", ChecksumType=kind)
    sent = []
    for number, part in enumerate(parts, 1):
        where = {"Bucket": bucket, "Key": "sum", "UploadId": start["UploadId"], "PartNumber": number}
        answer = s3.upload_part(**where, Body=part, ChecksumAlgorithm="CRC32")
        sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
    return start["UploadId"], {"Parts": sent}


def test_the_checksum_of_a_whole_multipart_object_is_checked_and_returned(s3, bucket):
    parts = [some_bytes(PART, 1), some_bytes(1000, 2)]
    right = base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    upload, named = upload_with_checksum(s3, bucket, parts, "FULL_OBJECT")
    complete = {"Bucket": bucket, "Key": "sum", "UploadId": upload, "MultipartUpload": named}
    wrong = {"ChecksumCRC32": "AAAAAA==", "ChecksumType": "FULL_OBJECT"}
    assert refusal(s3.complete_multipart_upload, **complete, **wrong) == (400, "BadDigest")
    # A checksum that nobody announced cannot be checked, and is not ignored either.
    other = {"ChecksumCRC32C": right}
    assert refusal(s3.complete_multipart_upload, **complete, **other) == (400, "InvalidRequest")
    done = s3.complete_multipart_upload(**complete, ChecksumCRC32=right, ChecksumType="FULL_OBJECT")
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (right, "FULL_OBJECT")
    head = s3.head_object(Bucket=bucket, Key="sum", ChecksumMode="ENABLED")
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (right, "FULL_OBJECT")
    refused = {"Bucket": bucket, "Key": "no", "ChecksumAlgorithm": "SHA256", "ChecksumType": "FULL_OBJECT"}
    assert refusal(s3.create_multipart_upload, **refused) == (400, "InvalidRequest")


def test_a_repeated_completion_answers_the_same(s3, bucket):
    upload, named = upload_with_checksum(s3, bucket, [some_bytes(PART, 1), b"end"], "COMPOSITE")
    complete = {"Bucket": bucket, "Key": "sum", "UploadId": upload, "MultipartUpload": named}
    first, second = s3.complete_multipart_upload(**complete), s3.complete_multipart_upload(**complete)
    assert first["ChecksumCRC32"].endswith("-2")
    for field in ("ETag", "Key", "ChecksumCRC32", "ChecksumType", "Location"):
        assert first[field] == second[field]
    s3.put_object(Bucket=bucket, Key="sum", Body=b"another")
    assert refusal(s3.complete_multipart_upload, **complete) == (404, "NoSuchUpload")


def test_an_aborted_multipart_leaves_nothing(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="gone")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="gone", UploadId=upload, PartNumber=1, Body=b"x")
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["gone"]
    s3.abort_multipart_upload(Bucket=bucket, Key="gone", UploadId=upload)
    assert refusal(s3.get_object, Bucket=bucket, Key="gone") == (404, "NoSuchKey")
    assert refusal(s3.list_parts, Bucket=bucket, Key="gone", UploadId=upload) == (404, "NoSuchUpload")


def test_the_transfer_manager_moves_a_large_file(s3, bucket, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(some_bytes(20 << 20))
    s3.upload_file(str(there), bucket, "file")
    s3.download_file(bucket, "file", str(back))
    assert back.read_bytes() == there.read_bytes()


# Listing and deleting


def keys(answer):
    return [found["Key"] for found in answer.get("Contents", [])]


@pytest.fixture
def tree(s3, bucket):
    names = ["a", "b/1", "b/2", "b/c/3", "b0", "c/4", "d"]
    for name in reversed(names):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    return names


def test_a_list_is_sorted_and_complete(s3, bucket, tree):
    answer = s3.list_objects_v2(Bucket=bucket)
    assert keys(answer) == sorted(tree)
    assert answer["KeyCount"] == len(tree) and not answer["IsTruncated"]
    assert [found["Size"] for found in answer["Contents"]] == [len(name) for name in sorted(tree)]


def test_prefix_and_delimiter_make_folders(s3, bucket, tree):
    top = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert keys(top) == ["a", "b0", "d"]
    assert [p["Prefix"] for p in top["CommonPrefixes"]] == ["b/", "c/"]
    inner = s3.list_objects_v2(Bucket=bucket, Prefix="b/", Delimiter="/")
    assert keys(inner) == ["b/1", "b/2"]
    assert [p["Prefix"] for p in inner["CommonPrefixes"]] == ["b/c/"]
    assert keys(s3.list_objects_v2(Bucket=bucket, Prefix="zz")) == []
    assert keys(s3.list_objects_v2(Bucket=bucket, StartAfter="b/2")) == ["b/c/3", "b0", "c/4", "d"]


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_join_without_gap_or_repetition(s3, bucket, tree, delimiter):
    options = {"Delimiter": delimiter} if delimiter else {}
    seen, pages, token = [], 0, {}
    while True:
        page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, **options, **token)
        names = keys(page) + [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert len(names) <= 2
        seen += names
        pages += 1
        assert pages <= len(tree), "paging does not end"
        if not page["IsTruncated"]:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    expected = ["a", "b/", "b0", "c/", "d"] if delimiter else tree
    assert sorted(seen) == sorted(expected)
    assert pages == -(-len(expected) // 2)


def test_many_objects_are_deleted_at_once(s3, bucket, tree):
    doomed = ["a", "b/1", "never-there"]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in doomed]})
    assert sorted(d["Key"] for d in answer["Deleted"]) == sorted(doomed)
    assert not answer.get("Errors")
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["b/2", "b/c/3", "b0", "c/4", "d"]


# Names

ODD_KEYS = {
    "planes": "a\u00e9\u0416\u4e2d\u3042\u0e01\U0001f956\U00010348\U00020000\U000e0041",
    "combining": "e\u0301",
    "composed": "\u00e9",
    "spaces": " two  spaces ",
    "reserved": "a+b&c=d?e#f%g;h:i@j,k$l!m'n(o)p*q",
    "percent": "100%25%2F",
    "leading-slash": "/leading",
    "double-slash": "a//b",
    "trailing-slash": "folder/",
    "dots": "..",
    "dot": "./a/./b",
    "parent": "../../etc/passwd",
    "inner-parent": "a/../b",
    "backslash": "a\\b",
    "quotes": "\"'`<>",
    "tab": "a\tb",
    "longest": "k" * 1024,
    "longest-in-bytes": "\u4e2d" * 341 + "k",
}


@pytest.mark.parametrize("name", list(ODD_KEYS))
def test_a_key_is_bytes_and_never_a_path(s3, bucket, name):
    key = ODD_KEYS[name]
    body = name.encode()
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert read(s3, bucket, key) == body
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    assert keys(s3.list_objects_v2(Bucket=bucket)) == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert keys(s3.list_objects_v2(Bucket=bucket)) == []


def test_keys_that_look_alike_are_different(s3, bucket):
    alike = ["a", "/a", "//a", "a/", "A", "./a", "e\u0301", "\u00e9"]
    for key in alike:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in alike:
        assert read(s3, bucket, key) == key.encode()
    assert keys(s3.list_objects_v2(Bucket=bucket)) == sorted(alike, key=str.encode)


def test_a_key_of_1025_bytes_is_refused(s3, bucket):
    assert refusal(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"") == (400, "KeyTooLongError")


# Presigned URLs, with curl


@pytest.fixture
def presign(devnet):
    """Signs URLs with SigV4, whatever the region makes boto3 choose by default."""
    client = s3_client(devnet, signature="s3v4")

    def sign(method, bucket, key, seconds=300):
        return client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds)

    return sign


def test_curl_puts_and_gets_through_presigned_urls(s3, bucket, presign, curl, tmp_path):
    body = some_bytes(200_000)
    source = tmp_path / "source"
    source.write_bytes(body)
    key = "curl/\u00e9 +%"
    assert curl("--upload-file", str(source), presign("put_object", bucket, key))[0] == 200
    assert read(s3, bucket, key) == body
    url = presign("get_object", bucket, key)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    assert curl(url) == (200, body)
    assert curl("--range", "10-19", url) == (206, body[10:20])


def test_the_url_that_boto3_signs_by_default_works_too(s3, bucket, curl):
    s3.put_object(Bucket=bucket, Key="k", Body=b"default")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    # For us-east-1, and only there, boto3 still signs URLs with SigV2.
    assert curl(url) == (200, b"default"), "answer SigV2, or let the devnet hand out another region"


def test_a_presigned_url_holds_for_its_request_only(s3, bucket, presign, curl):
    s3.put_object(Bucket=bucket, Key="mine", Body=b"mine")
    s3.put_object(Bucket=bucket, Key="yours", Body=b"yours")
    url = presign("get_object", bucket, "mine")
    assert curl(url) == (200, b"mine")
    assert curl(url.replace("/mine?", "/yours?"))[0] == 403
    assert curl("--request", "DELETE", url)[0] == 403
    assert read(s3, bucket, "mine") == b"mine"


def test_an_expired_presigned_url_is_refused(s3, bucket, presign, curl, monkeypatch):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    shift_clock(monkeypatch, datetime.timedelta(minutes=-10))
    code, body = curl(presign("get_object", bucket, "k", seconds=60))
    assert code == 403 and b"old" != body


# Refusals


def test_a_wrong_secret_is_refused(devnet, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"secret")
    stranger = s3_client(devnet, secret_key="not" + devnet["s3"]["secret_key"])
    assert refusal(stranger.get_object, Bucket=bucket, Key="k") == (403, "SignatureDoesNotMatch")
    assert refusal(stranger.put_object, Bucket=bucket, Key="k", Body=b"x") == (403, "SignatureDoesNotMatch")
    assert read(s3, bucket, "k") == b"secret"


def test_an_unknown_access_key_is_refused(devnet, bucket):
    stranger = s3_client(devnet, access_key="AKIANOBODYATALL00000")
    assert refusal(stranger.list_objects_v2, Bucket=bucket) == (403, "InvalidAccessKeyId")


def test_a_request_without_signature_is_refused(devnet, s3, bucket, curl):
    s3.put_object(Bucket=bucket, Key="k", Body=b"private")
    code, body = curl(f"{devnet['s3']['endpoint']}/{bucket}/k")
    assert code == 403 and b"private" not in body


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_skewed_clock_is_refused(s3, bucket, monkeypatch, minutes):
    shift_clock(monkeypatch, datetime.timedelta(minutes=minutes))
    assert refusal(s3.list_objects_v2, Bucket=bucket) == (403, "RequestTimeTooSkewed")


def shift_clock(monkeypatch, by):
    """Lets botocore sign as if the time were another; everything else keeps its clock."""
    real = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: real(*a, **k) + by)


def test_what_is_not_there_says_so(s3, bucket):
    site = {"IndexDocument": {"Suffix": "index.html"}}
    refused = [
        refusal(s3.put_bucket_website, Bucket=bucket, WebsiteConfiguration=site),
        refusal(s3.list_bucket_metrics_configurations, Bucket=bucket),
        refusal(s3.get_object_torrent, Bucket=bucket, Key="k"),
    ]
    assert refused == [(501, "NotImplemented")] * 3


def test_no_answer_tells_paths_of_the_server(devnet, curl):
    for path in ("/", "/no-such-bucket/..%2f..%2fetc/passwd", "/%00", "/" + "a" * 5000):
        code, body = curl("--path-as-is", devnet["s3"]["endpoint"] + path)
        assert 400 <= code < 500, (path, code)
        assert b"root:" not in body and os.sep.encode() + b"tmp" not in body
