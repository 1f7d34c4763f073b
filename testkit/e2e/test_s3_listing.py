"""Listing of keys and buckets: both versions, every delimiter, pages and odd names."""

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from s3_cases import *  # noqa: F403
from s3_cases import fresh_bucket, keys, prefixes, refusal, tag_of

INVALID = (400, "InvalidArgument")
BOTH = pytest.mark.parametrize("call", ["list_objects", "list_objects_v2"])
NAMES = [
    "a",
    "b/1",
    "b/2",
    "b/c/3",
    "b0",
    "c--1",
    "c--2",
    "d/",
    "e//f",
    "g h",
    "i\u00e9/j",
    "i\u00e9/k",
    "l",
]


@pytest.fixture(scope="module")
def tree(s3):
    name = fresh_bucket(s3)
    for key in reversed(NAMES):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    return name


def expected(prefix="", delimiter="", after=""):
    """What a listing shows, by the plain meaning of the words."""
    found, common = [], []
    for key in sorted(NAMES, key=str.encode):
        if not key.startswith(prefix) or key <= after:
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            found.append(key)
        elif key[: at + len(delimiter)] not in common:
            common.append(key[: at + len(delimiter)])
    return found, common


@BOTH
@pytest.mark.parametrize("prefix", ["", "b", "b/", "b/c/3", "i\u00e9/", "zz", "a"])
@pytest.mark.parametrize("delimiter", ["", "/", "--", "\u00e9/", "b", "3"])
def test_prefix_and_delimiter_show_what_they_say(s3, tree, call, prefix, delimiter):
    options = {"Prefix": prefix, "Delimiter": delimiter}
    answer = getattr(s3, call)(Bucket=tree, **options)
    assert (keys(answer), prefixes(answer)) == expected(prefix, delimiter)


@BOTH
@pytest.mark.parametrize("delimiter", ["", "/", "--"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_pages_join_without_gap_or_repetition(s3, tree, call, delimiter, size):
    seen, common, more = [], [], {}
    for _ in range(len(NAMES) + 1):
        page = getattr(s3, call)(Bucket=tree, MaxKeys=size, Delimiter=delimiter, **more)
        seen, common = seen + keys(page), common + prefixes(page)
        assert len(keys(page)) + len(prefixes(page)) <= size
        if not page["IsTruncated"]:
            break
        if call == "list_objects":
            more = {"Marker": page.get("NextMarker") or keys(page)[-1]}
        else:
            more = {"ContinuationToken": page["NextContinuationToken"]}
    assert (seen, common) == expected(delimiter=delimiter)


@BOTH
@pytest.mark.parametrize("after", ["a", "b/", "b/2", "b/9", "e", "zzz", "\u00e9"])
def test_a_listing_goes_on_behind_any_name(s3, tree, call, after):
    option = {"Marker": after} if call == "list_objects" else {"StartAfter": after}
    assert keys(getattr(s3, call)(Bucket=tree, **option)) == expected(after=after)[0]


@BOTH
def test_a_listed_object_says_what_it_is(s3, tree, call):
    (found,) = getattr(s3, call)(Bucket=tree, Prefix="b/1")["Contents"]
    assert (found["Size"], found["ETag"], found["StorageClass"]) == (3, tag_of(b"b/1"), "STANDARD")
    assert found["LastModified"]


@BOTH
def test_an_empty_bucket_lists_nothing(s3, plain, call):
    answer = getattr(s3, call)(Bucket=fresh_bucket(s3))
    assert "Contents" not in answer and "CommonPrefixes" not in answer
    assert answer["IsTruncated"] is False


@BOTH
def test_a_page_of_none_is_empty_and_the_end(s3, tree, call):
    answer = getattr(s3, call)(Bucket=tree, MaxKeys=0)
    assert keys(answer) == [] and answer["IsTruncated"] is False and answer["MaxKeys"] == 0


@BOTH
def test_a_page_holds_a_thousand_at_most(s3, tree, call):
    assert getattr(s3, call)(Bucket=tree, MaxKeys=5000)["MaxKeys"] == 1000


@BOTH
def test_a_page_is_a_thousand_by_itself(s3, tree, call):
    assert getattr(s3, call)(Bucket=tree)["MaxKeys"] == 1000


@BOTH
def test_a_negative_page_is_refused(s3, tree, call):
    assert refusal(getattr(s3, call), Bucket=tree, MaxKeys=-1) == INVALID


@BOTH
def test_a_page_that_is_no_number_is_refused(s3, tree, call):
    event = f"before-call.s3.{'ListObjectsV2' if call.endswith('v2') else 'ListObjects'}"

    def spoil(params, **_):
        params["query_string"]["max-keys"] = "many"
        params["url"] = params["url"].replace("max-keys=5", "max-keys=many")

    s3.meta.events.register(event, spoil)
    try:
        assert refusal(getattr(s3, call), Bucket=tree, MaxKeys=5)[0] == 400
    finally:
        s3.meta.events.unregister(event, spoil)


@BOTH
def test_a_page_that_ends_exactly_is_the_last(s3, tree, call):
    answer = getattr(s3, call)(Bucket=tree, MaxKeys=len(NAMES))
    assert len(keys(answer)) == len(NAMES) and answer["IsTruncated"] is False


@BOTH
def test_an_empty_delimiter_is_not_given_back(s3, tree, call):
    assert "Delimiter" not in getattr(s3, call)(Bucket=tree, Delimiter="")


@BOTH
def test_names_are_encoded_on_demand(s3, tree, call):
    answer = getattr(s3, call)(Bucket=tree, EncodingType="url", Prefix="g")
    assert (keys(answer), answer["EncodingType"]) == (["g%20h"], "url")


@BOTH
def test_prefixes_are_encoded_on_demand(s3, tree, call):
    answer = getattr(s3, call)(Bucket=tree, EncodingType="url", Prefix="i", Delimiter="/")
    assert prefixes(answer) == ["i%C3%A9/"]


@BOTH
def test_an_unknown_encoding_is_refused(s3, tree, call):
    assert refusal(getattr(s3, call), Bucket=tree, EncodingType="base64") == INVALID


@BOTH
def test_a_listing_of_no_bucket_is_not_found(s3, call):
    assert refusal(getattr(s3, call), Bucket="case-no-such-bucket") == (404, "NoSuchBucket")


# The first version


def test_the_next_marker_comes_with_a_delimiter_only(s3, tree):
    assert "NextMarker" not in s3.list_objects(Bucket=tree, MaxKeys=1)
    assert s3.list_objects(Bucket=tree, MaxKeys=1, Delimiter="/")["NextMarker"] == "a"


def test_the_next_marker_may_be_a_folder(s3, tree):
    page = s3.list_objects(Bucket=tree, MaxKeys=2, Delimiter="/")
    assert (keys(page), prefixes(page), page["NextMarker"]) == (["a"], ["b/"], "b/")
    page = s3.list_objects(Bucket=tree, MaxKeys=1, Delimiter="/", Marker="b/")
    assert (keys(page), prefixes(page)) == (["b0"], [])


def test_a_marker_is_given_back(s3, tree):
    assert s3.list_objects(Bucket=tree, Marker="b0")["Marker"] == "b0"


def test_the_first_version_tells_the_owner(s3, tree):
    assert s3.list_objects(Bucket=tree, MaxKeys=1)["Contents"][0]["Owner"]["ID"]


# The second version


def test_the_second_version_tells_the_owner_on_demand(s3, tree):
    assert "Owner" not in s3.list_objects_v2(Bucket=tree, MaxKeys=1)["Contents"][0]
    assert s3.list_objects_v2(Bucket=tree, MaxKeys=1, FetchOwner=True)["Contents"][0]["Owner"]["ID"]


def test_keys_and_folders_are_counted_together(s3, tree):
    answer = s3.list_objects_v2(Bucket=tree, Delimiter="/")
    assert answer["KeyCount"] == len(answer["Contents"]) + len(answer["CommonPrefixes"])


def test_a_token_goes_before_a_name_to_start_after(s3, tree):
    first = s3.list_objects_v2(Bucket=tree, MaxKeys=2, StartAfter="b/1")
    assert keys(first) == ["b/2", "b/c/3"]
    more = {"ContinuationToken": first["NextContinuationToken"], "StartAfter": "b/1"}
    second = s3.list_objects_v2(Bucket=tree, MaxKeys=1, **more)
    assert keys(second) == ["b0"]
    assert second["ContinuationToken"] == first["NextContinuationToken"]


@pytest.mark.parametrize("token", ["zz", "k1", "kzz", "p\u00e9"])
def test_a_token_that_is_none_of_ours_is_refused(s3, tree, token):
    assert refusal(s3.list_objects_v2, Bucket=tree, ContinuationToken=token) == INVALID


def test_a_key_that_came_meanwhile_behind_the_page_is_shown(s3):
    name = fresh_bucket(s3)
    for key in ("a", "c"):
        s3.put_object(Bucket=name, Key=key, Body=b"")
    token = s3.list_objects_v2(Bucket=name, MaxKeys=1)["NextContinuationToken"]
    s3.put_object(Bucket=name, Key="b", Body=b"")
    assert keys(s3.list_objects_v2(Bucket=name, ContinuationToken=token)) == ["b", "c"]


def test_the_last_key_of_a_page_may_go_meanwhile(s3):
    name = fresh_bucket(s3)
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=name, Key=key, Body=b"")
    token = s3.list_objects_v2(Bucket=name, MaxKeys=2)["NextContinuationToken"]
    s3.delete_object(Bucket=name, Key="b")
    assert keys(s3.list_objects_v2(Bucket=name, ContinuationToken=token)) == ["c"]


def test_keys_are_sorted_by_their_bytes(s3):
    name = fresh_bucket(s3)
    # Above the first plane, the order of UTF-16 and of bytes differ.
    names = ["Z", "a", "\u00e9", "\ufb01", "\U0001f956"]
    for key in reversed(names):
        s3.put_object(Bucket=name, Key=key, Body=b"")
    assert keys(s3.list_objects_v2(Bucket=name)) == names


@pytest.mark.parametrize("deep", [1, 3, 10])
def test_a_folder_of_folders_is_one_folder(s3, plain, key, deep):
    s3.put_object(Bucket=plain, Key=key + "/" + "x/" * deep + "y", Body=b"")
    answer = s3.list_objects_v2(Bucket=plain, Prefix=key, Delimiter="/")
    assert prefixes(answer) == [key + "/"]


# Buckets


def test_buckets_are_listed_by_name_with_their_owner(s3):
    mine = sorted(fresh_bucket(s3) for _ in range(3))
    answer = s3.list_buckets()
    names = [b["Name"] for b in answer["Buckets"]]
    assert names == sorted(names) and set(mine) <= set(names)
    assert answer["Owner"]["ID"]


def test_pages_of_buckets_join(s3):
    mine = sorted(fresh_bucket(s3) for _ in range(3))
    prefix, seen, more = mine[0][:5], [], {}
    for _ in range(1000):
        page = s3.list_buckets(MaxBuckets=2, Prefix=prefix, **more)
        assert len(page["Buckets"]) <= 2
        seen += [b["Name"] for b in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        more = {"ContinuationToken": page["ContinuationToken"]}
    assert seen == sorted(set(seen)) and set(mine) <= set(seen)


def test_a_page_of_buckets_is_not_endless(s3):
    assert len(s3.list_buckets(MaxBuckets=1)["Buckets"]) == 1


def test_a_bucket_that_exists_is_not_made_again(s3, plain):
    assert refusal(s3.create_bucket, Bucket=plain) == (409, "BucketAlreadyOwnedByYou")


@pytest.mark.parametrize("name", ["ab", "UPPER", "under_score", "-dash", "dots..dots", "192.168.5.4", "x" * 64])
def test_a_bad_name_of_a_bucket_is_refused(s3, name):
    with pytest.raises((ClientError, ParamValidationError)) as caught:
        s3.create_bucket(Bucket=name)
    if isinstance(caught.value, ClientError):
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
