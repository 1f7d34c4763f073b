"""What the tests of access share: keys through the command line, clients that sign nothing, bare requests."""

import json
import os
import subprocess
import urllib.parse

import boto3
import urllib3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import s3_client

OWNER = "000000000000"
HTTP = urllib3.PoolManager(retries=False, timeout=30)


def run(devnet, *words):
    """Exit code and JSON of a command."""
    command = [os.environ["CAIRN_BIN"], "--api", devnet["api"], "--json", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout or done.stderr)


def new_key(devnet, name, *options):
    code, made = run(devnet, "storage", "key", "new", "--name", name, *options)
    assert code == 0, made
    return made


def revoke(devnet, key):
    code, answer = run(devnet, "storage", "key", "revoke", key["access_key"])
    assert code == 0, answer


def client_of(devnet, key):
    return s3_client(devnet, access_key=key["access_key"], secret_key=key["secret_key"])


def stranger_of(devnet):
    """A client that does not sign."""
    return boto3.client(
        "s3",
        endpoint_url=devnet["s3"]["endpoint"],
        region_name=devnet["s3"]["region"],
        config=Config(
            signature_version=UNSIGNED, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
        ),
    )


def refused(call, **arguments):
    """The code with which a call is refused; None if it is not."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def statement(bucket, **changes):
    """A statement that lets everybody read the objects of a bucket, changed."""
    base = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def put_policy(s3, bucket, *statements):
    s3.put_bucket_policy(
        Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    )


def user(name):
    return {"AWS": f"arn:aws:iam::{OWNER}:user/{name}"}


def send(devnet, method, path, headers=None, body=None, fields=None):
    """A request without signature."""
    url = devnet["s3"]["endpoint"] + urllib.parse.quote(path, safe="/?&=%-._~")
    return HTTP.request(method, url, headers=headers or {}, body=body, fields=fields, redirect=False)


def code_of(answer):
    """The code in an error's text."""
    text = answer.data.decode("utf-8", "replace")
    return text.split("<Code>")[1].split("</Code>")[0] if "<Code>" in text else None
