"""Checksums of bodies: five algorithms, of parts and of the whole."""

import base64
import binascii
import hashlib
import zlib

import pytest

from s3_cases import *  # noqa: F403
from s3_cases import PART, read, refusal, some_bytes

BODY = b"The quick brown fox"


def reflected_crc(body, polynomial, width):
    crc = mask = (1 << width) - 1
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return (crc ^ mask).to_bytes(width // 8, "big")


SUMS = {
    "CRC32": lambda b: zlib.crc32(b).to_bytes(4, "big"),
    "CRC32C": lambda b: reflected_crc(b, 0x82F63B78, 32),
    "CRC64NVME": lambda b: reflected_crc(b, 0x9A6C9329AC4BC9B5, 64),
    "SHA1": lambda b: hashlib.sha1(b).digest(),
    "SHA256": lambda b: hashlib.sha256(b).digest(),
}
EACH = pytest.mark.parametrize("name", list(SUMS))
CRCS = pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME"])
COMPOSITES = pytest.mark.parametrize("name", ["CRC32", "CRC32C", "SHA1", "SHA256"])


def summed(name, body):
    return base64.b64encode(SUMS[name](body)).decode()


@EACH
def test_a_checksum_that_fits_is_kept_and_told(s3, plain, key, name):
    field, right = f"Checksum{name}", summed(name, BODY)
    put = s3.put_object(Bucket=plain, Key=key, Body=BODY, **{field: right})
    assert (put[field], put["ChecksumType"]) == (right, "FULL_OBJECT")
    for call in (s3.get_object, s3.head_object):
        got = call(Bucket=plain, Key=key, ChecksumMode="ENABLED")
        assert (got[field], got["ChecksumType"]) == (right, "FULL_OBJECT")


@EACH
def test_a_checksum_that_does_not_fit_stores_nothing(s3, plain, key, name):
    ask = {"Bucket": plain, "Key": key, "Body": BODY, f"Checksum{name}": summed(name, b"another")}
    assert refusal(s3.put_object, **ask) == (400, "BadDigest")
    assert refusal(s3.get_object, Bucket=plain, Key=key) == (404, "NoSuchKey")


@pytest.mark.parametrize("name", ["CRC32", "SHA1", "SHA256"])
def test_the_client_may_leave_the_checksum_to_its_library(s3, plain, key, name):
    put = s3.put_object(Bucket=plain, Key=key, Body=BODY, ChecksumAlgorithm=name)
    assert put[f"Checksum{name}"] == summed(name, BODY)


@EACH
def test_listings_name_the_algorithm(s3, plain, key, name):
    s3.put_object(Bucket=plain, Key=key, Body=BODY, **{f"Checksum{name}": summed(name, BODY)})
    (found,) = s3.list_objects_v2(Bucket=plain, Prefix=key)["Contents"]
    assert (found["ChecksumAlgorithm"], found["ChecksumType"]) == ([name], "FULL_OBJECT")


@EACH
def test_attributes_tell_the_checksum(s3, plain, key, name):
    s3.put_object(Bucket=plain, Key=key, Body=BODY, **{f"Checksum{name}": summed(name, BODY)})
    told = s3.get_object_attributes(Bucket=plain, Key=key, ObjectAttributes=["Checksum"])["Checksum"]
    assert told == {f"Checksum{name}": summed(name, BODY), "ChecksumType": "FULL_OBJECT"}


@EACH
def test_a_copy_keeps_the_checksum(s3, plain, key, name):
    s3.put_object(Bucket=plain, Key=key, Body=BODY, **{f"Checksum{name}": summed(name, BODY)})
    answer = s3.copy_object(Bucket=plain, Key=key + "-copy", CopySource={"Bucket": plain, "Key": key})
    assert answer["CopyObjectResult"][f"Checksum{name}"] == summed(name, BODY)


@EACH
@pytest.mark.parametrize("size", [19, 70_000], ids=["inline", "stored"])
def test_a_copy_may_be_summed_anew(s3, plain, key, name, size):
    body = some_bytes(size)
    before = "SHA1" if name != "SHA1" else "SHA256"
    s3.put_object(Bucket=plain, Key=key, Body=body, ChecksumAlgorithm=before)
    source = {"Bucket": plain, "Key": key}
    ask = {"Bucket": plain, "Key": key + "-copy", "CopySource": source, "ChecksumAlgorithm": name}
    answer = s3.copy_object(**ask)["CopyObjectResult"]
    assert answer[f"Checksum{name}"] == summed(name, body) and f"Checksum{before}" not in answer


def test_a_range_comes_without_the_checksum_of_the_whole(s3, plain, key):
    s3.put_object(Bucket=plain, Key=key, Body=BODY, ChecksumAlgorithm="SHA256")
    got = s3.get_object(Bucket=plain, Key=key, Range="bytes=0-1", ChecksumMode="ENABLED")
    assert "ChecksumSHA256" not in got


# Parts


def send(s3, bucket, key, name, kind, parts):
    """What completes an upload of these parts, and the checksums of the parts."""
    start = s3.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm=name, ChecksumType=kind)
    where = {"Bucket": bucket, "Key": key, "UploadId": start["UploadId"]}
    assert (start["ChecksumAlgorithm"], start["ChecksumType"]) == (name, kind)
    named, field = [], f"Checksum{name}"
    for number, body in enumerate(parts, 1):
        answer = s3.upload_part(**where, PartNumber=number, Body=body, **{field: summed(name, body)})
        named.append({"PartNumber": number, "ETag": answer["ETag"], field: answer[field]})
    return {**where, "MultipartUpload": {"Parts": named}}


@COMPOSITES
def test_a_checksum_of_checksums(s3, plain, key, name):
    # One part is enough to tell it from the checksum of the whole.
    ask = send(s3, plain, key, name, "COMPOSITE", [BODY])
    done = s3.complete_multipart_upload(**ask)
    right = base64.b64encode(SUMS[name](SUMS[name](BODY))).decode() + "-1"
    assert (done[f"Checksum{name}"], done["ChecksumType"]) == (right, "COMPOSITE")
    head = s3.head_object(Bucket=plain, Key=key, ChecksumMode="ENABLED")
    assert head[f"Checksum{name}"] == right


@CRCS
def test_a_checksum_of_the_whole(s3, plain, key, name):
    ask = send(s3, plain, key, name, "FULL_OBJECT", [BODY])
    done = s3.complete_multipart_upload(**ask, **{f"Checksum{name}": summed(name, BODY)})
    assert (done[f"Checksum{name}"], done["ChecksumType"]) == (summed(name, BODY), "FULL_OBJECT")


def test_a_checksum_of_the_whole_joins_those_of_the_parts(s3, plain, key):
    parts = [some_bytes(PART, 4), b"end"]
    start = s3.create_multipart_upload(
        Bucket=plain, Key=key, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
    )
    where = {"Bucket": plain, "Key": key, "UploadId": start["UploadId"]}
    named = []
    for number, body in enumerate(parts, 1):
        right = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        answer = s3.upload_part(**where, PartNumber=number, Body=body, ChecksumCRC32=right)
        named.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": right})
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": named})
    whole = zlib.crc32(b"".join(parts)).to_bytes(4, "big")
    assert done["ChecksumCRC32"] == base64.b64encode(whole).decode()


@EACH
def test_a_part_with_a_wrong_checksum_is_not_kept(s3, plain, key, name):
    start = s3.create_multipart_upload(Bucket=plain, Key=key, ChecksumAlgorithm=name)
    where = {"Bucket": plain, "Key": key, "UploadId": start["UploadId"]}
    ask = {**where, "PartNumber": 1, "Body": BODY, f"Checksum{name}": summed(name, b"another")}
    assert refusal(s3.upload_part, **ask) == (400, "BadDigest")
    assert "Parts" not in s3.list_parts(**where)


@CRCS
def test_a_whole_that_does_not_fit_is_not_completed(s3, plain, key, name):
    ask = send(s3, plain, key, name, "FULL_OBJECT", [BODY])
    wrong = {f"Checksum{name}": summed(name, b"another")}
    assert refusal(s3.complete_multipart_upload, **ask, **wrong) == (400, "BadDigest")
    s3.complete_multipart_upload(**ask)


@EACH
def test_a_part_named_with_another_checksum_is_refused(s3, plain, key, name):
    kind = "FULL_OBJECT" if name == "CRC64NVME" else "COMPOSITE"
    ask = send(s3, plain, key, name, kind, [BODY])
    ask["MultipartUpload"]["Parts"][0][f"Checksum{name}"] = summed(name, b"another")
    assert refusal(s3.complete_multipart_upload, **ask) == (400, "InvalidPart")


@EACH
def test_listed_parts_tell_their_checksums(s3, plain, key, name):
    kind = "FULL_OBJECT" if name == "CRC64NVME" else "COMPOSITE"
    ask = send(s3, plain, key, name, kind, [BODY])
    where = {k: ask[k] for k in ("Bucket", "Key", "UploadId")}
    answer = s3.list_parts(**where)
    assert (answer["ChecksumAlgorithm"], answer["ChecksumType"]) == (name, kind)
    assert answer["Parts"][0][f"Checksum{name}"] == summed(name, BODY)


@pytest.mark.parametrize(
    ("name", "kind"), [("SHA1", "FULL_OBJECT"), ("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")]
)
def test_a_kind_that_the_algorithm_does_not_have_is_refused(s3, plain, key, name, kind):
    ask = {"Bucket": plain, "Key": key, "ChecksumAlgorithm": name, "ChecksumType": kind}
    assert refusal(s3.create_multipart_upload, **ask) == (400, "InvalidRequest")


def test_a_content_digest_that_is_none_is_refused(s3, plain, key):
    ask = {"Bucket": plain, "Key": key, "Body": BODY, "ContentMD5": "not base64"}
    assert refusal(s3.put_object, **ask) == (400, "InvalidDigest")


def test_a_content_digest_that_fits_is_accepted(s3, plain, key):
    right = base64.b64encode(binascii.unhexlify(hashlib.md5(BODY).hexdigest())).decode()
    s3.put_object(Bucket=plain, Key=key, Body=BODY, ContentMD5=right)
    assert read(s3, plain, key) == BODY
