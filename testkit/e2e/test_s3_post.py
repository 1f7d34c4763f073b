"""Uploads by a form, as browsers send them."""

import base64
import datetime
import hashlib
import hmac
import json

import pytest
from access import HTTP, client_of, code_of, new_key, refused, revoke, run, stranger_of


@pytest.fixture(scope="module")
def stranger(devnet):
    return stranger_of(devnet)


def form(s3, bucket, key, fields=None, conditions=None, seconds=600):
    """The fields that boto3 would give a page."""
    return s3.generate_presigned_post(
        Bucket=bucket, Key=key, Fields=fields, Conditions=conditions, ExpiresIn=seconds
    )["fields"]


def post(devnet, bucket, fields, body=b"bytes", name="a b.txt", kind="text/plain"):
    parts = [(k, v) for k, v in fields.items()]
    if body is not None:
        parts.append(("file", (name, body, kind)))
    return HTTP.request("POST", f"{devnet['s3']['endpoint']}/{bucket}", fields=parts, redirect=False)


def signed_by_hand(devnet, policy):
    """Fields with a policy that boto3 would not make."""
    s3 = devnet["s3"]
    now = datetime.datetime.now(datetime.timezone.utc)
    date, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    fields = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{s3['access_key']}/{day}/{s3['region']}/s3/aws4_request",
        "x-amz-date": date,
    }
    if isinstance(policy, dict):
        conditions = [*policy["conditions"], *({k: v} for k, v in fields.items())]
        policy = json.dumps({**policy, "conditions": conditions})
    text = base64.b64encode(policy.encode()).decode()
    key = ("AWS4" + s3["secret_key"]).encode()
    for part in (day, s3["region"], "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return {**fields, "policy": text, "x-amz-signature": hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}


def stored(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("size", [0, 1, 65536, (9 << 20) + 1])
def test_a_signed_form_stores_its_file(s3, devnet, bucket, size):
    body = bytes(range(256)) * (size // 256 + 1)
    answer = post(devnet, bucket, form(s3, bucket, "k"), body[:size])
    assert answer.status == 204, answer.data
    assert answer.headers["etag"] == f'"{hashlib.md5(body[:size]).hexdigest()}"'
    assert stored(s3, bucket, "k") == body[:size]


def test_the_name_of_the_file_goes_into_the_key(s3, devnet, bucket):
    fields = form(s3, bucket, "in/${filename}")
    assert post(devnet, bucket, fields, name="x.txt").status == 204
    assert stored(s3, bucket, "in/x.txt") == b"bytes"
    assert post(devnet, bucket, form(s3, bucket, "in/${filename}"), name="C:\\dir\\y.txt").status == 204
    assert stored(s3, bucket, "in/y.txt") == b"bytes"


def test_headers_and_metadata_come_from_fields(s3, devnet, bucket):
    extra = {"Content-Type": "image/x", "Cache-Control": "max-age=1", "x-amz-meta-oven": "stone"}
    fields = form(s3, bucket, "k", extra, [{k: v} for k, v in extra.items()])
    assert post(devnet, bucket, fields).status == 204
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == ("image/x", "max-age=1", {"oven": "stone"})


@pytest.mark.parametrize(("asked", "status"), [("200", 200), ("201", 201), ("204", 204), ("404", 204)])
def test_the_form_chooses_the_status(s3, devnet, bucket, asked, status):
    extra = {"success_action_status": asked}
    answer = post(devnet, bucket, form(s3, bucket, "k", extra, [extra]))
    assert answer.status == status
    if status == 201:
        text = answer.data.decode()
        assert f"<Bucket>{bucket}</Bucket>" in text and "<Key>k</Key>" in text and "<ETag>" in text
    else:
        assert answer.data == b""


def test_the_form_chooses_where_to_go(s3, devnet, bucket):
    extra = {"success_action_redirect": "http://site/done?a=1"}
    answer = post(devnet, bucket, form(s3, bucket, "k", extra, [extra]))
    assert answer.status == 303
    assert answer.headers["location"].startswith(f"http://site/done?a=1&bucket={bucket}&key=k&etag=%22")


CONDITIONS = [
    ("starts-with", ["starts-with", "$key", "k"], {}, None),
    ("eq", ["eq", "$success_action_status", "200"], {"success_action_status": "200"}, None),
    ("eq that fails", ["eq", "$success_action_status", "200"], {"success_action_status": "201"}, "AccessDenied"),
    ("starts-with that fails", ["starts-with", "$x-amz-meta-a", "b"], {"x-amz-meta-a": "c"}, "AccessDenied"),
    ("an absent field", ["eq", "$x-amz-meta-a", "b"], {}, "AccessDenied"),
    ("another bucket", {"bucket": "somewhere-else"}, {}, "AccessDenied"),
    ("another key", {"key": "other"}, {}, "AccessDenied"),
    ("a range that fits", ["content-length-range", 1, 5], {}, None),
    ("too large", ["content-length-range", 0, 4], {}, "EntityTooLarge"),
    ("too small", ["content-length-range", 6, 10], {}, "EntityTooSmall"),
    ("a narrower range", [["content-length-range", 0, 100], ["content-length-range", 0, 4]], {}, "EntityTooLarge"),
    ("a field that no condition covers", None, {"x-amz-meta-b": "c"}, "AccessDenied"),
    ("a field that may be ignored", None, {"x-ignore-b": "c"}, None),
    ("a list that no condition covers", None, {"acl": "public-read"}, "AccessDenied"),
]


@pytest.mark.parametrize(("condition", "fields", "code"), [c[1:] for c in CONDITIONS], ids=[c[0] for c in CONDITIONS])
def test_a_condition_is_met_or_not(s3, devnet, bucket, condition, fields, code):
    conditions = [] if condition is None else condition if isinstance(condition[0] if isinstance(condition, list) else "", list) else [condition]
    signed = {**form(s3, bucket, "k", None, conditions), **fields}
    answer = post(devnet, bucket, signed)
    assert code_of(answer) == code, answer.data
    assert ("Contents" in s3.list_objects_v2(Bucket=bucket)) == (code is None)


def test_a_policy_that_has_ended_allows_nothing(devnet, bucket):
    policy = {"expiration": "2020-01-01T00:00:00Z", "conditions": [{"key": "k"}]}
    answer = post(devnet, bucket, {"key": "k", **signed_by_hand(devnet, policy)})
    assert (answer.status, code_of(answer)) == (403, "AccessDenied") and b"expired" in answer.data


@pytest.mark.parametrize(
    "policy",
    [
        "no json",
        "{}",
        '{"expiration":"soon","conditions":[]}',
        '{"expiration":"2099-01-01T00:00:00Z"}',
        '{"expiration":"2099-01-01T00:00:00Z","conditions":[["like","$key","k"]]}',
        '{"expiration":"2099-01-01T00:00:00Z","conditions":[["content-length-range",-1,5]]}',
        '{"expiration":"2099-01-01T00:00:00Z","conditions":[],"conditions":[]}',
    ],
)
def test_what_is_no_policy_is_refused(devnet, bucket, policy):
    answer = post(devnet, bucket, {"key": "k", **signed_by_hand(devnet, policy)})
    assert (answer.status, code_of(answer)) == (400, "InvalidPolicyDocument"), answer.data


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
        ({"x-amz-signature": "zz"}, "SignatureDoesNotMatch"),
        ({"policy": base64.b64encode(b'{"expiration":"2099-01-01T00:00:00Z","conditions":[]}').decode()}, "SignatureDoesNotMatch"),
        ({"x-amz-algorithm": "AWS4-HMAC-MD5"}, "InvalidArgument"),
        ({"x-amz-credential": "nobody/20260101/x/s3/aws4_request"}, "InvalidArgument"),
        ({"x-amz-credential": "nonsense"}, "InvalidArgument"),
        ({"key": ""}, "InvalidArgument"),
    ],
)
def test_a_form_that_was_changed_is_refused(s3, devnet, bucket, change, code):
    answer = post(devnet, bucket, {**form(s3, bucket, "k"), **change})
    assert code_of(answer) == code, answer.data


def test_an_old_signature_is_refused(devnet, bucket):
    answer = post(devnet, bucket, {"key": "k", "AWSAccessKeyId": "x", "signature": "y", "policy": "z"})
    assert (answer.status, code_of(answer)) == (400, "InvalidArgument")


def test_a_form_without_file_or_with_a_field_twice_is_malformed(s3, devnet, bucket):
    fields = form(s3, bucket, "k")
    assert code_of(post(devnet, bucket, fields, body=None)) == "MalformedPOSTRequest"
    twice = [*fields.items(), ("key", "other"), ("file", ("f", b"x", "text/plain"))]
    answer = HTTP.request("POST", f"{devnet['s3']['endpoint']}/{bucket}", fields=twice)
    assert code_of(answer) == "MalformedPOSTRequest"


def test_fields_have_a_limit(s3, devnet, bucket):
    answer = post(devnet, bucket, {**form(s3, bucket, "k"), "x-ignore-a": "x" * 70_000})
    assert code_of(answer) == "MalformedPOSTRequest"


def test_strangers_may_not_post_to_a_private_bucket(s3, devnet, bucket):
    answer = post(devnet, bucket, {"key": "k"})
    assert (answer.status, code_of(answer)) == (403, "AccessDenied")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_strangers_may_post_to_a_bucket_open_for_writing(s3, devnet, bucket):
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    assert post(devnet, bucket, {"key": "k"}).status == 204
    assert stored(s3, bucket, "k") == b"bytes"


def test_a_list_in_a_form_holds(s3, devnet, stranger, bucket):
    extra = {"acl": "public-read"}
    assert post(devnet, bucket, form(s3, bucket, "k", extra, [extra])).status == 204
    assert stranger.get_object(Bucket=bucket, Key="k")["Body"].read() == b"bytes"


def test_a_form_can_do_no_more_than_the_key_that_signed_it(s3, devnet, bucket):
    key = new_key(devnet, "former", "--bucket", f"{bucket}/in/")
    client = client_of(devnet, key)
    assert post(devnet, bucket, form(client, bucket, "in/a")).status == 204
    assert code_of(post(devnet, bucket, form(client, bucket, "out"))) == "AccessDenied"
    fields = form(client, bucket, "in/b")
    revoke(devnet, key)
    assert code_of(post(devnet, bucket, fields)) == "InvalidAccessKeyId"


def test_a_form_to_a_bucket_that_is_not_there(s3, devnet):
    answer = post(devnet, "e2e-not-there", form(s3, "e2e-not-there", "k"))
    assert (answer.status, code_of(answer)) == (404, "NoSuchBucket")


def test_a_form_to_a_key_is_refused(s3, devnet, bucket):
    answer = post(devnet, f"{bucket}/k", form(s3, bucket, "k"))
    assert (answer.status, code_of(answer)) == (405, "MethodNotAllowed")


def test_what_follows_the_file_is_not_part_of_it(s3, devnet, bucket):
    fields = [*form(s3, bucket, "k").items(), ("file", ("f", b"x\r\n--not-the-boundary", "t/p")), ("submit", "go")]
    answer = HTTP.request("POST", f"{devnet['s3']['endpoint']}/{bucket}", fields=fields)
    assert answer.status == 204
    assert stored(s3, bucket, "k") == b"x\r\n--not-the-boundary"
