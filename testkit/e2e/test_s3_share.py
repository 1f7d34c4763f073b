"""Links that open one object for a while."""

import time

import pytest
from access import HTTP, client_of, code_of, new_key, revoke, run


def link(client, bucket, key="k", seconds=600, method="get_object", **more):
    return client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key, **more}, ExpiresIn=seconds)


def get(url, **more):
    return HTTP.request("GET", url, **more)


@pytest.fixture
def full(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"bread", ContentType="text/x-bread")
    s3.put_object(Bucket=bucket, Key="dir/a b+é.txt", Body=b"odd")
    return bucket


def share(devnet, at, *options):
    code, answer = run(devnet, "storage", "share", at, *options)
    assert code == 0, answer
    return answer


def test_a_shared_object_is_read_without_a_key(devnet, full):
    assert get(share(devnet, f"s3://{full}/k")["url"]).data == b"bread"


def test_a_shared_name_may_be_odd(devnet, full):
    assert get(share(devnet, f"s3://{full}/dir/a b+é.txt")["url"]).data == b"odd"


def test_revoking_its_key_ends_a_link_and_no_other(devnet, full):
    one, two = share(devnet, f"s3://{full}/k"), share(devnet, f"s3://{full}/k")
    revoke(devnet, one)
    ended = get(one["url"])
    assert (ended.status, code_of(ended)) == (403, "InvalidAccessKeyId")
    assert get(two["url"]).status == 200
    revoke(devnet, two)


def test_a_link_opens_its_object_only(devnet, full):
    url = share(devnet, f"s3://{full}/k")["url"]
    other = get(url.replace(f"/{full}/k?", f"/{full}/dir/?"))
    assert (other.status, code_of(other)) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_link_for_reading_does_nothing_else(s3, devnet, full, method):
    answer = HTTP.request(method, share(devnet, f"s3://{full}/k")["url"], body=b"")
    assert answer.status in (403, 400, 501)
    assert s3.get_object(Bucket=full, Key="k")["Body"].read() == b"bread"


def test_a_link_ends_when_it_said(devnet, full):
    url = share(devnet, f"s3://{full}/k", "--expires", "1s")["url"]
    deadline = time.monotonic() + 20
    while (answer := get(url)).status == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert answer.status in (400, 403) and code_of(answer) in ("AccessDenied", "ExpiredToken")


@pytest.mark.parametrize("words", [["--expires", "8d"], ["--expires", "0s"], ["--expires", "soon"]])
def test_a_link_for_too_long_is_not_made(devnet, full, words):
    code, answer = run(devnet, "storage", "share", f"s3://{full}/k", *words)
    assert code != 0 and answer["error"]["code"] in ("storage.expires", "cli.usage")


def test_what_is_not_there_is_not_shared(devnet, bucket):
    code, answer = run(devnet, "storage", "share", f"s3://{bucket}/none")
    assert code == 1, answer
    code, answer = run(devnet, "storage", "share", f"s3://{bucket}/")
    assert code == 1 and answer["error"]["code"] == "storage.name"


@pytest.mark.parametrize("seconds", ["0", "-1", "604801", "", "9999999999999", "x"])
def test_a_link_has_bounds(s3, full, seconds):
    url = link(s3, full).replace("X-Amz-Expires=600", f"X-Amz-Expires={seconds}")
    answer = get(url)
    assert (answer.status, code_of(answer)) == (400, "AuthorizationQueryParametersError")


def test_a_link_of_a_week_is_taken_and_its_end_cannot_be_moved(s3, full):
    url = link(s3, full, seconds=604800)
    assert get(url).status == 200
    assert code_of(get(url.replace("604800", "604799"))) == "SignatureDoesNotMatch"


def test_a_link_chooses_headers_of_the_answer(s3, full):
    url = link(
        s3,
        full,
        ResponseContentType="text/html",
        ResponseContentDisposition='attachment; filename="x"',
        ResponseCacheControl="no-store",
        ResponseContentLanguage="de",
        ResponseContentEncoding="identity",
    )
    headers = get(url).headers
    assert headers["content-type"] == "text/html"
    assert headers["content-disposition"] == 'attachment; filename="x"'
    assert (headers["cache-control"], headers["content-language"]) == ("no-store", "de")
    changed = get(url.replace("text%2Fhtml", "text%2Fplain"))
    assert code_of(changed) == "SignatureDoesNotMatch"


def test_a_link_to_write_takes_one_object(s3, full):
    url = link(s3, full, "new", method="put_object")
    assert HTTP.request("PUT", url, body=b"fresh").status == 200
    assert s3.get_object(Bucket=full, Key="new")["Body"].read() == b"fresh"
    assert HTTP.request("PUT", url.replace("/new?", "/k?"), body=b"x").status == 403


def test_a_link_can_do_no_more_than_its_key(devnet, full):
    key = new_key(devnet, "linker", "--allow", "list")
    url = link(client_of(devnet, key), full)
    assert code_of(get(url)) == "AccessDenied"
    revoke(devnet, key)


def test_a_link_and_a_header_together_are_refused(s3, full):
    answer = get(link(s3, full), headers={"authorization": "AWS4-HMAC-SHA256 Credential=x"})
    assert (answer.status, code_of(answer)) == (400, "InvalidArgument")


def test_old_links_are_refused(devnet, full):
    url = f"{devnet['s3']['endpoint']}/{full}/k?AWSAccessKeyId=x&Signature=y&Expires=9999999999"
    answer = get(url)
    assert (answer.status, code_of(answer)) == (400, "InvalidRequest")
