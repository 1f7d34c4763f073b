"""What the S3 suites share: buckets that live as long as the devnet, so that a case costs a request or two."""

import hashlib
import itertools
import random
import uuid

import pytest
from botocore.exceptions import ClientError

PART = 5 << 20
_numbers = itertools.count()


def some_bytes(size, seed=1):
    """Bytes that look random and are the same on every run."""
    return random.Random(seed).randbytes(size)


def tag_of(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


def refusal(call, **arguments):
    """The (HTTP status, code) with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def refused_headers(call, **arguments):
    """Status and headers of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    meta = caught.value.response["ResponseMetadata"]
    return meta["HTTPStatusCode"], meta["HTTPHeaders"]


def fresh_bucket(s3, **options):
    name = f"case-{uuid.uuid4().hex[:20]}"
    s3.create_bucket(Bucket=name, **options)
    return name


def versioned_bucket(s3):
    name = fresh_bucket(s3)
    versioning(s3, name, "Enabled")
    return name


def versioning(s3, bucket, status):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


@pytest.fixture(scope="session")
def plain(s3):
    """A bucket without versions that many cases share; each takes keys of its own."""
    return fresh_bucket(s3)


@pytest.fixture(scope="session")
def kept(s3):
    """A bucket with versions that many cases share."""
    return versioned_bucket(s3)


@pytest.fixture
def key():
    return f"key-{next(_numbers):05}"


def read(s3, bucket, key, **options):
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()


def keys(answer):
    return [found["Key"] for found in answer.get("Contents", [])]


def prefixes(answer):
    return [found["Prefix"] for found in answer.get("CommonPrefixes", [])]


def put_versions(s3, bucket, key, *bodies):
    """Their version ids, oldest first."""
    return [s3.put_object(Bucket=bucket, Key=key, Body=body).get("VersionId") for body in bodies]


def versions_of(s3, bucket, key):
    """(version id, is latest, kind) of a key, as listed."""
    answer = s3.list_object_versions(Bucket=bucket, Prefix=key)
    found = [(v["VersionId"], v["IsLatest"], "object") for v in answer.get("Versions", []) if v["Key"] == key]
    found += [(m["VersionId"], m["IsLatest"], "marker") for m in answer.get("DeleteMarkers", []) if m["Key"] == key]
    return found
