"""Cross-origin requests: what browsers ask first, and what they hear afterwards."""

import pytest
from access import code_of, refused, send

SITE = "https://app.example.org"


def rule(**changes):
    return {"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": [SITE], **changes}


def put(s3, bucket, *rules):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(rules)})


def ask(devnet, path, origin=SITE, method="GET", headers=None):
    asked = {"origin": origin, "access-control-request-method": method}
    if headers is not None:
        asked["access-control-request-headers"] = headers
    return send(devnet, "OPTIONS", path, headers={k: v for k, v in asked.items() if v is not None})


def test_rules_come_back_as_they_went(s3, bucket):
    assert refused(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"
    rules = [rule(ID="one", AllowedHeaders=["x-*"], ExposeHeaders=["ETag"], MaxAgeSeconds=60), rule()]
    put(s3, bucket, *rules)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    s3.delete_bucket_cors(Bucket=bucket)
    assert refused(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (rule(AllowedMethods=["PATCH"]), "InvalidRequest"),
        (rule(AllowedMethods=["get"]), "InvalidRequest"),
        (rule(AllowedOrigins=["https://*.a.*"]), "InvalidRequest"),
        (rule(AllowedHeaders=["*-*"]), "InvalidRequest"),
        (rule(ExposeHeaders=["x-*"]), "InvalidRequest"),
        (rule(MaxAgeSeconds=-1), "InvalidRequest"),
    ],
)
def test_rules_that_cannot_be_are_refused(s3, bucket, bad, code):
    assert refused(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [bad]}) == code
    assert refused(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"


def test_at_most_a_hundred_rules(s3, bucket):
    put(s3, bucket, *[rule()] * 100)
    assert refused(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [rule()] * 101}) == "MalformedXML"


def test_a_preflight_needs_no_signature(s3, devnet, bucket):
    put(s3, bucket, rule(AllowedHeaders=["*"], MaxAgeSeconds=77, ExposeHeaders=["ETag", "x-a"]))
    answer = ask(devnet, f"/{bucket}/k", method="PUT", headers="Content-Type, X-Amz-Date")
    assert answer.status == 200, answer.data
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["access-control-allow-methods"] == "GET, PUT"
    assert answer.headers["access-control-allow-headers"] == "content-type, x-amz-date"
    assert answer.headers["access-control-max-age"] == "77"
    assert answer.headers["access-control-expose-headers"] == "ETag, x-a"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]


def test_a_preflight_for_a_bucket_is_answered(s3, devnet, bucket):
    put(s3, bucket, rule())
    assert ask(devnet, f"/{bucket}").status == 200


@pytest.mark.parametrize(
    ("question", "cause"),
    [
        ({"origin": "https://evil.test"}, "another origin"),
        ({"origin": SITE + ".evil.test"}, "an origin that only begins alike"),
        ({"origin": "http://app.example.org"}, "another scheme"),
        ({"method": "DELETE"}, "a method that is not listed"),
        ({"headers": "x-other"}, "a header that is not listed"),
        ({"headers": "x-good, x-other"}, "one good header and one that is not"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_preflight_is_refused_for(s3, devnet, bucket, question, cause):
    put(s3, bucket, rule(AllowedHeaders=["x-good"]))
    answer = ask(devnet, f"/{bucket}/k", **question)
    assert (answer.status, code_of(answer)) == (403, "AccessForbidden"), cause
    assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_says_what_is_missing(s3, devnet, bucket):
    put(s3, bucket, rule())
    assert (ask(devnet, f"/{bucket}/k", origin=None).status, code_of(ask(devnet, f"/{bucket}/k", origin=None))) == (400, "BadRequest")
    assert ask(devnet, f"/{bucket}/k", method=None).status == 400


def test_without_rules_nothing_is_allowed(devnet, bucket):
    answer = ask(devnet, f"/{bucket}/k")
    assert (answer.status, code_of(answer)) == (403, "AccessForbidden")
    assert ask(devnet, "/e2e-not-there/k").status == 403


def test_one_star_stands_for_a_part_of_an_origin(s3, devnet, bucket):
    put(s3, bucket, rule(AllowedOrigins=["https://*.example.org"]))
    assert ask(devnet, f"/{bucket}/k").headers["access-control-allow-origin"] == SITE
    assert ask(devnet, f"/{bucket}/k", origin="https://example.org").status == 403


def test_any_origin_is_answered_with_a_star_and_without_credentials(s3, devnet, bucket):
    put(s3, bucket, rule(AllowedOrigins=["*"]))
    answer = ask(devnet, f"/{bucket}/k", origin="https://anybody.test")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_the_first_rule_that_fits_counts(s3, devnet, bucket):
    put(s3, bucket, rule(AllowedMethods=["PUT"], MaxAgeSeconds=1), rule(AllowedMethods=["GET"], MaxAgeSeconds=2))
    assert ask(devnet, f"/{bucket}/k").headers["access-control-max-age"] == "2"


def test_actual_requests_hear_that_they_may(s3, devnet, bucket):
    put(s3, bucket, rule(ExposeHeaders=["ETag"]))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    answer = send(devnet, "GET", f"/{bucket}/k", headers={"origin": SITE})
    assert (answer.status, answer.data) == (200, b"x")
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["access-control-expose-headers"] == "ETag"
    assert "Origin" in answer.headers["vary"]
    assert "access-control-max-age" not in answer.headers


def test_actual_requests_of_others_hear_nothing(s3, devnet, bucket):
    put(s3, bucket, rule())
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    other = send(devnet, "GET", f"/{bucket}/k", headers={"origin": "https://evil.test"})
    assert other.status == 200 and "access-control-allow-origin" not in other.headers
    assert "Origin" in other.headers["vary"], "a cache must not give one the answer of the other"
    none = send(devnet, "GET", f"/{bucket}/k")
    assert "access-control-allow-origin" not in none.headers


def test_refusals_can_be_read_by_the_page_too(s3, devnet, bucket):
    put(s3, bucket, rule())
    answer = send(devnet, "GET", f"/{bucket}/shut", headers={"origin": SITE})
    assert (answer.status, code_of(answer)) == (403, "AccessDenied")
    assert answer.headers["access-control-allow-origin"] == SITE
