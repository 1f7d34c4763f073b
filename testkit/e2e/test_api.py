"""The HTTP API as a stranger meets it."""

import json

import pytest

# Where a signed transaction is handed in, as bytes.
TRANSACTIONS = "/v1/transactions"


def test_the_ready_line_names_everything_a_client_needs(devnet):
    assert devnet["api"].startswith("http://127.0.0.1:")
    assert set(devnet["s3"]) >= {"endpoint", "access_key", "secret_key", "region"}
    assert devnet["s3"]["endpoint"].startswith("http://127.0.0.1:")
    assert devnet["accounts"], "a devnet has funded accounts"
    for account in devnet["accounts"]:
        assert account["name"] and account["address"]
    assert isinstance(devnet["pid"], int)


def test_status_is_a_json_object(api):
    answer = api("/v1/status")
    assert answer.code == 200
    assert answer.headers.get_content_type() == "application/json"
    status = json.loads(answer.body)
    assert isinstance(status, dict) and status


def test_openapi_names_every_path_with_its_answers(api):
    answer = api("/openapi.json")
    assert answer.code == 200
    document = json.loads(answer.body)
    assert document["openapi"].startswith("3.")
    assert "/v1/status" in document["paths"]
    assert TRANSACTIONS in document["paths"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in {"get", "put", "post", "delete", "patch"}:
                assert operation["responses"], f"{method} {path} documents no answer"


@pytest.mark.parametrize(
    "body",
    [b"", b"not a transaction", b"\x00" * 64, b"\xff" * 4096, b"{}", b'{"tx": 1}', b"[" * 2000],
    ids=["empty", "words", "zeros", "ones", "object", "wrong-type", "deep"],
)
def test_a_malformed_transaction_is_refused_with_cause_and_remedy(api, body):
    for kind in ("application/octet-stream", "application/json"):
        answer = api(TRANSACTIONS, body=body, method="POST", kind=kind)
        refused(answer)


def test_an_oversized_transaction_is_refused(api):
    answer = api(TRANSACTIONS, body=b"a" * (4 << 20), method="POST", kind="application/octet-stream")
    refused(answer)


def test_an_unknown_path_is_refused_with_cause_and_remedy(api):
    answer = api("/v1/no-such-thing")
    assert answer.code == 404
    refused(answer)


def refused(answer):
    """A refusal is a client error in JSON with a stable code, a cause and a next action."""
    assert 400 <= answer.code < 500, (answer.code, answer.body[:500])
    assert answer.headers.get_content_type() == "application/json", answer.body[:500]
    reason = json.loads(answer.body)
    for field in ("code", "cause", "remedy"):
        assert isinstance(reason[field], str) and reason[field], (field, reason)
