"""Access logs: who asked for what, in a bucket of one's choice, without secrets."""

import re
import time
import uuid

import pytest
from access import HTTP, client_of, new_key, put_policy, refused, revoke, send, statement, stranger_of

FIELD = re.compile(r'\[[^\]]*\]|"[^"]*"|\S+')
SECONDS = 30


def read_log(s3, bucket, prefix):
    """All lines that were delivered."""
    lines = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            lines += s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read().decode().splitlines()
    return lines


@pytest.fixture(scope="module")
def log(devnet, s3):
    """Requests of every kind to a bucket, and the lines that they left."""
    source, target = f"e2e-{uuid.uuid4().hex[:12]}-src", f"e2e-{uuid.uuid4().hex[:12]}-log"
    s3.create_bucket(Bucket=source)
    s3.create_bucket(Bucket=target)
    to = {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "logs/"}}
    s3.put_bucket_logging(Bucket=source, BucketLoggingStatus=to)
    assert s3.get_bucket_logging(Bucket=source)["LoggingEnabled"] == to["LoggingEnabled"]
    s3.put_object(Bucket=source, Key="a b", Body=b"bread")
    s3.get_object(Bucket=source, Key="a b")["Body"].read()
    s3.get_object(Bucket=source, Key="a b", Range="bytes=1-2")["Body"].read()
    refused(s3.get_object, Bucket=source, Key="none")
    s3.list_objects_v2(Bucket=source)
    refused(s3.get_bucket_policy, Bucket=source)
    refused(stranger_of(devnet).get_object, Bucket=source, Key="a b")
    key = new_key(devnet, "logged", "--read-only")
    client_of(devnet, key).head_object(Bucket=source, Key="a b")
    revoke(devnet, key)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": source, "Key": "a b"})
    HTTP.request("GET", url).data
    send(devnet, "GET", f"/{source}/forged", headers={"user-agent": 'x" 200 - "\tforged', "referer": url})
    s3.delete_object(Bucket=source, Key="a b")
    deadline, lines = time.monotonic() + SECONDS, []
    while time.monotonic() < deadline and not any("REST.DELETE.OBJECT" in line for line in lines):
        time.sleep(0.3)
        lines = read_log(s3, target, "logs/")
    yield {"lines": lines, "source": source, "target": target, "url": url}
    s3.put_bucket_logging(Bucket=source, BucketLoggingStatus={})
    s3.delete_bucket(Bucket=source)
    for name in [o["Key"] for o in s3.list_objects_v2(Bucket=target).get("Contents", [])]:
        s3.delete_object(Bucket=target, Key=name)


def found(log, operation, **wanted):
    """The fields of the one line with this operation and these fields."""
    names = {"requester": 4, "key": 7, "status": 9, "code": 10, "sent": 11, "size": 12, "auth": 21}
    rows = [FIELD.findall(line) for line in log["lines"]]
    rows = [r for r in rows if r[6] == operation and all(r[names[k]] == v for k, v in wanted.items())]
    assert len(rows) == 1, (operation, wanted, log["lines"])
    return rows[0]


def test_every_line_has_the_fields_of_the_format(log):
    for line in log["lines"]:
        fields = FIELD.findall(line)
        assert len(fields) == 26, line
        assert fields[1] == log["source"]
        assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]", fields[2])
        assert fields[3] == "127.0.0.1" and re.fullmatch("[0-9A-F]{16}", fields[5])


def test_a_write_and_a_read_are_logged_with_their_sizes(log):
    assert found(log, "REST.PUT.OBJECT", key="a%20b", status="200")[12] == "5"
    whole = found(log, "REST.GET.OBJECT", status="200", auth="AuthHeader")
    assert (whole[11], whole[12]) == ("5", "5")
    part = found(log, "REST.GET.OBJECT", status="206")
    assert (part[11], part[12]) == ("2", "5")


def test_refusals_are_logged_with_their_codes(log):
    found(log, "REST.GET.OBJECT", key="none", status="404", code="NoSuchKey")
    found(log, "REST.GET.BUCKETPOLICY", status="404", code="NoSuchBucketPolicy")


def test_strangers_and_keys_are_told_apart(log):
    found(log, "REST.GET.OBJECT", key="a%20b", requester="-", status="403", code="AccessDenied")
    found(log, "REST.HEAD.OBJECT", requester="arn:aws:iam::000000000000:user/logged", status="200")


def test_lists_and_deletions_are_logged(log):
    found(log, "REST.GET.BUCKET", status="200")
    found(log, "REST.DELETE.OBJECT", key="a%20b", status="204")


def test_a_link_is_logged_without_its_signature(log):
    line = " ".join(found(log, "REST.GET.OBJECT", auth="QueryString"))
    signature = log["url"].split("X-Amz-Signature=")[1]
    assert "X-Amz-Signature=***" in line
    assert not any(signature in line for line in log["lines"])


def test_clients_cannot_forge_lines(log):
    forged = found(log, "REST.GET.OBJECT", key="forged")
    assert "%22 200 - %22" in forged[16], forged


def test_the_delivery_is_not_logged_itself(log):
    assert not any("/logs/" in line for line in log["lines"])


def test_a_log_needs_a_bucket_that_is_there(s3, bucket):
    to = {"LoggingEnabled": {"TargetBucket": "e2e-not-there", "TargetPrefix": ""}}
    assert refused(s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=to) == "InvalidTargetBucketForLogging"
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_a_log_is_turned_off(s3, bucket):
    to = {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "x"}}
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=to)
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_grants_on_a_log_are_not_implemented(s3, bucket):
    grant = {"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}, "Permission": "READ"}
    to = {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "x", "TargetGrants": [grant]}}
    assert refused(s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=to) == "NotImplemented"


def test_every_answer_has_an_id(s3, devnet, bucket):
    ids = {send(devnet, "GET", f"/{bucket}/x").headers["x-amz-request-id"] for _ in range(5)}
    assert len(ids) == 5
    put_policy(s3, bucket, statement(bucket, Principal={"Service": "logging.s3.amazonaws.com"}, Action="s3:PutObject"))
