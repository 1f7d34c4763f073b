"""docs/reference/s3.md against a running gateway: what it says is there is there, and nothing else is."""

import pathlib
import re

import pytest
from botocore.exceptions import ClientError

from s3_cases import *  # noqa: F403
from s3_cases import fresh_bucket

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reference" / "s3.md"
ROWS = re.findall(r"^\| `(\w+)` \| (yes|default|no) \| ?(.*?) ?\|$", PAGE.read_text(), re.M)
# Not callable through boto3: forms come from browsers, the other one has an endpoint of its own.
ELSEWHERE = {"PostObject", "WriteGetObjectResponse"}
CALLABLE = [row for row in ROWS if row[0] not in ELSEWHERE]


def operation(s3, name):
    model = s3.meta.service_model
    by_name = {n.replace("ACL", "Acl").replace("CORS", "Cors"): n for n in model.operation_names}
    return model.operation_model(by_name[name])


def filled(shape, names):
    """The least that a shape takes: what it must have, and values of the right kind."""
    kind = shape.type_name
    if kind == "structure":
        if shape.metadata.get("eventstream"):
            return None
        return {m: names.get(m) or filled(shape.members[m], names) for m in shape.required_members}
    if kind == "list":
        return [filled(shape.member, names)]
    if kind == "map":
        return {}
    if kind == "string":
        return (shape.enum or ["text"])[0]
    values = {"integer": 1, "long": 1, "boolean": True, "blob": b"x", "timestamp": "2099-01-01T00:00:00Z"}
    return values[kind]


def heard(s3, name, bucket):
    """What a minimal call of an operation hears: status, code, answer."""
    model = operation(s3, name)
    names = {"Bucket": bucket, "Key": "object", "CopySource": f"{bucket}/object", "UploadId": "0" * 32}
    arguments = filled(model.input_shape, names) if model.input_shape else {}
    call = next(m for m, n in s3.meta.method_to_api_mapping.items() if n == model.name)
    try:
        answer = getattr(s3, call)(**arguments)
        return 200, "", answer
    except ClientError as refused:
        answer = refused.response
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer


@pytest.fixture
def scratch(s3):
    """A bucket with an object, which any operation may remove."""
    name = fresh_bucket(s3)
    s3.put_object(Bucket=name, Key="object", Body=b"x")
    return name


def test_every_operation_of_the_protocol_has_a_row():
    names = [name for name, _, _ in ROWS]
    assert len(names) == len(set(names)) == 99 and names == sorted(names)


@pytest.mark.parametrize(("name", "answer", "note"), CALLABLE, ids=[row[0] for row in CALLABLE])
def test_an_operation_answers_as_its_row_says(s3, scratch, name, answer, note):
    status, code, _ = heard(s3, name, scratch)
    if answer == "no":
        assert (status, code) == (501, "NotImplemented")
    elif answer == "default" and (wanted := re.match(r"`(\w+(?:Error|Configuration))`", note)):
        assert (status, code) == (404, wanted[1])
    elif answer == "default":
        assert status == 200
    else:
        assert status < 500, code


def test_the_owner_pays(s3, plain):
    assert s3.get_bucket_request_payment(Bucket=plain)["Payer"] == "BucketOwner"


@pytest.mark.parametrize("call", ["get_bucket_encryption", "get_bucket_website", "get_bucket_request_payment"])
def test_a_default_needs_a_bucket(s3, call):
    with pytest.raises(ClientError) as caught:
        getattr(s3, call)(Bucket="case-no-such-bucket")
    assert caught.value.response["Error"]["Code"] == "NoSuchBucket"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"StorageClass": "GLACIER"}, "InvalidStorageClass"),
        ({"ServerSideEncryption": "aws:kms"}, "NotImplemented"),
        ({"WebsiteRedirectLocation": "/other"}, "NotImplemented"),
        ({"GrantRead": "id=somebody"}, "NotImplemented"),
        ({"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}, "NotImplemented"),
    ],
    ids=["storage-class", "key-service", "redirect", "grant", "customer-key"],
)
@pytest.mark.parametrize("call", ["put_object", "create_multipart_upload"])
def test_what_a_write_cannot_have_is_refused(s3, plain, key, call, options, code):
    if "SSECustomerKey" in options:
        # boto3 sends such keys over TLS only; the header alone says what is asked for.
        client = s3.meta.events
        name = "PutObject" if call == "put_object" else "CreateMultipartUpload"

        def ask(params, **_):
            params["headers"]["x-amz-server-side-encryption-customer-algorithm"] = "AES256"

        client.register(f"before-call.s3.{name}", ask)
        try:
            with pytest.raises(ClientError) as caught:
                getattr(s3, call)(Bucket=plain, Key=key)
        finally:
            client.unregister(f"before-call.s3.{name}", ask)
    else:
        with pytest.raises(ClientError) as caught:
            getattr(s3, call)(Bucket=plain, Key=key, **options)
    assert caught.value.response["Error"]["Code"] == code
