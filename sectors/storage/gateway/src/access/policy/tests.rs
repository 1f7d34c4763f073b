use super::*;
use crate::access::actions::{ACTIONS, find};
use proptest::prelude::*;
use serde_json::{Value, json};

fn statement(change: Value) -> Value {
    let mut all = json!({
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"
    });
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

fn policy(statements: &[Value]) -> Result<Policy, Malformed> {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    Policy::parse(text.as_bytes(), "bucket")
}

fn of(change: Value) -> Policy {
    policy(&[statement(change)]).unwrap()
}

fn refused(change: Value) -> String {
    policy(&[statement(change)]).unwrap_err().0
}

fn facts(list: &[(&str, &str)]) -> Facts {
    let mut out = Facts::default();
    list.iter().for_each(|(k, v)| out.add(*k, *v));
    out
}

fn judge(p: &Policy, who: &Who, action: &str, key: Option<&str>, known: &[(&str, &str)]) -> Option<Effect> {
    let facts = facts(known);
    p.judge(&Ask { who, action: find(action).unwrap(), bucket: "bucket", key, facts: &facts })
}

fn gets(p: &Policy, known: &[(&str, &str)]) -> bool {
    judge(p, &Who::Anonymous, "s3:GetObject", Some("k"), known) == Some(Effect::Allow)
}

fn ann() -> Who {
    Who::User("ann".into())
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    let allow = statement(json!({}));
    let deny = statement(json!({"Effect": "Deny", "Resource": "arn:aws:s3:::bucket/secret/*"}));
    for order in [[allow.clone(), deny.clone()], [deny, allow]] {
        let p = policy(&order).unwrap();
        assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("open"), &[]), Some(Effect::Allow));
        assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("secret/x"), &[]), Some(Effect::Deny));
        assert_eq!(judge(&p, &ann(), "s3:PutObject", Some("open"), &[]), None);
    }
}

#[test]
fn principals_are_whom_they_name() {
    let p =
        of(json!({"Principal": {"AWS": ["arn:aws:iam::000000000000:user/ann", "arn:aws:iam:::user/bob"]}}));
    assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("k"), &[]), Some(Effect::Allow));
    assert_eq!(judge(&p, &Who::User("bob".into()), "s3:GetObject", Some("k"), &[]), Some(Effect::Allow));
    assert_eq!(judge(&p, &Who::User("eve".into()), "s3:GetObject", Some("k"), &[]), None);
    assert_eq!(judge(&p, &Who::Anonymous, "s3:GetObject", Some("k"), &[]), None);
    let account = json!({"AWS": "arn:aws:iam::000000000000:root"});
    let p = of(json!({"Principal": account}));
    assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("k"), &[]), None, "left to the key's scope");
    let p = of(json!({"Principal": account, "Effect": "Deny"}));
    assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("k"), &[]), Some(Effect::Deny));
    assert_eq!(judge(&p, &Who::Anonymous, "s3:GetObject", Some("k"), &[]), None);
}

#[test]
fn everybody_but() {
    let p =
        of(json!({"Effect": "Deny", "Principal": null, "NotPrincipal": {"AWS": "arn:aws:iam:::user/ann"}}));
    assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("k"), &[]), None);
    assert_eq!(judge(&p, &Who::Anonymous, "s3:GetObject", Some("k"), &[]), Some(Effect::Deny));
    let p = of(json!({"Action": null, "NotAction": "s3:Get*"}));
    assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("k"), &[]), None);
    assert_eq!(judge(&p, &ann(), "s3:DeleteObject", Some("k"), &[]), Some(Effect::Allow));
    let p = of(json!({"Resource": null, "NotResource": "arn:aws:s3:::bucket/a*"}));
    assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("abc"), &[]), None);
    assert_eq!(judge(&p, &ann(), "s3:GetObject", Some("bc"), &[]), Some(Effect::Allow));
}

#[test]
fn actions_are_compared_without_case_and_with_wildcards() {
    let p = of(
        json!({"Action": ["S3:getobject*", "s3:List*"], "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]}),
    );
    assert_eq!(judge(&p, &ann(), "s3:GetObjectTagging", Some("k"), &[]), Some(Effect::Allow));
    assert_eq!(judge(&p, &ann(), "s3:ListBucket", None, &[]), Some(Effect::Allow));
    assert_eq!(judge(&p, &ann(), "s3:PutObject", Some("k"), &[]), None);
}

#[test]
fn variables_are_filled_in() {
    let p = of(json!({"Resource": "arn:aws:s3:::bucket/home/${aws:username}/*"}));
    let may =
        |key: &str, known: &[(&str, &str)]| judge(&p, &ann(), "s3:GetObject", Some(key), known).is_some();
    assert!(may("home/ann/x", &[("aws:username", "ann")]));
    assert!(!may("home/bob/x", &[("aws:username", "ann")]));
    assert!(!may("home//x", &[]));
    assert!(refused(json!({"Resource": "arn:aws:s3:::bucket/${aws:what}"})).contains("${aws:what}"));
    let old = json!({"Version": "2008-10-17", "Statement": [statement(json!({"Resource": "arn:aws:s3:::bucket/${x}"}))]});
    let old = Policy::parse(old.to_string().as_bytes(), "bucket").unwrap();
    assert_eq!(
        judge(&old, &ann(), "s3:GetObject", Some("${x}"), &[]),
        Some(Effect::Allow),
        "plain text before 2012"
    );
}

/// A condition, what is known, and whether it holds.
type Case = (Value, &'static [(&'static str, &'static str)], bool);

#[test]
fn conditions_hold_or_not() {
    let cases: &[Case] = &[
        (json!({"StringEquals": {"s3:prefix": ["a", "b"]}}), &[("s3:prefix", "b")], true),
        (json!({"StringEquals": {"s3:prefix": "a"}}), &[("s3:prefix", "A")], false),
        (json!({"StringEquals": {"s3:prefix": "a*"}}), &[("s3:prefix", "ab")], false),
        (json!({"StringEquals": {"s3:prefix": "a"}}), &[], false),
        (json!({"StringEqualsIfExists": {"s3:prefix": "a"}}), &[], true),
        (json!({"StringNotEquals": {"s3:prefix": ["a", "b"]}}), &[("s3:prefix", "b")], false),
        (json!({"StringNotEquals": {"s3:prefix": "a"}}), &[], true),
        (json!({"StringEqualsIgnoreCase": {"S3:Prefix": "AbC"}}), &[("s3:prefix", "aBc")], true),
        (json!({"StringNotEqualsIgnoreCase": {"s3:prefix": "AbC"}}), &[("s3:prefix", "aBc")], false),
        (json!({"StringLike": {"aws:Referer": "http://x/*"}}), &[("aws:referer", "http://x/y")], true),
        (json!({"StringNotLike": {"aws:Referer": "http://x/*"}}), &[("aws:referer", "http://x/y")], false),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), &[("aws:sourceip", "10.9.8.7")], true),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), &[("aws:sourceip", "11.9.8.7")], false),
        (json!({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "::1"]}}), &[("aws:sourceip", "::1")], false),
        (json!({"Bool": {"aws:SecureTransport": "false"}}), &[("aws:securetransport", "false")], true),
        (json!({"Bool": {"aws:SecureTransport": true}}), &[("aws:securetransport", "false")], false),
        (json!({"NumericLessThanEquals": {"s3:max-keys": 10}}), &[("s3:max-keys", "10")], true),
        (json!({"NumericLessThan": {"s3:max-keys": "10"}}), &[("s3:max-keys", "10")], false),
        (json!({"NumericGreaterThan": {"s3:max-keys": "-1"}}), &[("s3:max-keys", "x")], false),
        (json!({"NumericNotEquals": {"s3:max-keys": "10"}}), &[("s3:max-keys", "11")], true),
        (
            json!({"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}),
            &[("aws:currenttime", "2025-12-31T23:59:59Z")],
            true,
        ),
        (json!({"DateGreaterThanEquals": {"aws:EpochTime": "100"}}), &[("aws:epochtime", "99")], false),
        (json!({"Null": {"s3:x-amz-acl": "true"}}), &[], true),
        (json!({"Null": {"s3:x-amz-acl": "false"}}), &[], false),
        (
            json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/a*"}}),
            &[("aws:principalarn", "arn:aws:iam::1:user/ann")],
            true,
        ),
        (
            json!({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/a*"}}),
            &[("aws:principalarn", "arn:aws:iam::1:user/ann")],
            false,
        ),
        (
            json!({"StringEquals": {"s3:ExistingObjectTag/Team": "x"}}),
            &[("s3:existingobjecttag/Team", "x")],
            true,
        ),
        (
            json!({"StringEquals": {"s3:ExistingObjectTag/Team": "x"}}),
            &[("s3:existingobjecttag/team", "x")],
            false,
        ),
        (
            json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}),
            &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
            false,
        ),
        (json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": "a"}}), &[], true),
        (
            json!({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}),
            &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
            true,
        ),
        (json!({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": "a"}}), &[], false),
        (
            json!({"StringEquals": {"s3:prefix": "${aws:username}"}}),
            &[("s3:prefix", "u"), ("aws:username", "u")],
            true,
        ),
        (json!({"StringEquals": {"s3:prefix": "a", "s3:delimiter": "/"}}), &[("s3:prefix", "a")], false),
    ];
    for (condition, known, expected) in cases {
        assert_eq!(gets(&of(json!({"Condition": condition})), known), *expected, "{condition} {known:?}");
    }
}

#[test]
fn nothing_is_taken_that_is_not_understood() {
    for (change, cause) in [
        (json!({"Effect": "Permit"}), "Effect"),
        (json!({"Effect": null}), "Effect"),
        (json!({"Principal": null}), "Principal"),
        (json!({"Principal": "arn:aws:iam:::user/x"}), "principal"),
        (json!({"Principal": {"AWS": "arn:aws:iam::123456789012:user/x"}}), "principal"),
        (json!({"Principal": {"AWS": "arn:aws:iam:::role/x"}}), "principal"),
        (json!({"Principal": {"AWS": "arn:aws:iam:::user/*"}}), "principal"),
        (json!({"Principal": {"Federated": "x"}}), "principal"),
        (json!({"Principal": {"Service": "ec2.amazonaws.com"}}), "principal"),
        (json!({"Principal": {}}), "principal"),
        (json!({"NotPrincipal": "*"}), "together"),
        (json!({"Action": "s3:Fly"}), "action"),
        (json!({"Action": []}), "Action"),
        (json!({"Action": 7}), "Action"),
        (json!({"Action": "iam:*"}), "action"),
        (json!({"Resource": "bucket/*"}), "resource"),
        (json!({"Resource": "arn:aws:s3:::other/*"}), "resource"),
        (json!({"Resource": "arn:aws-cn:s3:::bucket/*"}), "resource"),
        (json!({"Resource": "arn:aws:s3:::bucket"}), "does not apply"),
        (json!({"Action": "s3:ListBucket"}), "does not apply"),
        (json!({"Action": ["s3:GetObject", "s3:ListBucket"]}), "does not apply"),
        (json!({"Condition": {"StringAlmost": {"s3:prefix": "a"}}}), "StringAlmost"),
        (json!({"Condition": {"BinaryEquals": {"s3:prefix": "a"}}}), "BinaryEquals"),
        (json!({"Condition": {"ForSome:StringEquals": {"s3:prefix": "a"}}}), "ForSome"),
        (json!({"Condition": {"NullIfExists": {"s3:prefix": "true"}}}), "Null"),
        (json!({"Condition": {"StringEquals": {"aws:SourceVpc": "v"}}}), "aws:SourceVpc"),
        (json!({"Condition": {"StringEquals": {"s3:ExistingObjectTag/": "v"}}}), "ExistingObjectTag"),
        (json!({"Condition": {"NumericEquals": {"s3:max-keys": "1.5"}}}), "1.5"),
        (json!({"Condition": {"DateEquals": {"aws:CurrentTime": "tomorrow"}}}), "tomorrow"),
        (json!({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}), "yes"),
        (json!({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}), "10.0.0.0/33"),
        (json!({"Condition": {"ArnLike": {"aws:PrincipalArn": "ann"}}}), "ARN"),
        (json!({"Condition": {"StringEquals": {"s3:prefix": []}}}), "s3:prefix"),
        (json!({"Condition": {"StringEquals": {"s3:prefix": [["a"]]}}}), "s3:prefix"),
        (json!({"Condition": "x"}), "Condition"),
        (json!({"Sid": 7}), "Sid"),
        (json!({"Extra": 7}), "Extra"),
    ] {
        let said = refused(change.clone());
        assert!(said.contains(cause), "{change}: {said}");
    }
    for text in [
        "",
        "[]",
        "7",
        "{",
        r#"{"Version":"2012-10-17"}"#,
        r#"{"Version":"2020-01-01","Statement":[]}"#,
        r#"{"Statement":[]}"#,
        r#"{"Statement":[7]}"#,
        r#"{"Statement":[],"Other":1}"#,
    ] {
        assert!(Policy::parse(text.as_bytes(), "bucket").is_err(), "{text}");
    }
    let twice = statement(json!({"Sid": "a"}));
    assert!(policy(&[twice.clone(), twice]).unwrap_err().0.contains("unique"));
    assert!(Policy::parse(&vec![b' '; MAX_POLICY + 1], "bucket").is_err());
}

#[test]
fn what_is_public() {
    assert!(of(json!({})).is_public());
    assert!(of(json!({"Principal": {"AWS": "*"}})).is_public());
    assert!(!of(json!({"Effect": "Deny"})).is_public());
    assert!(!of(json!({"Principal": {"AWS": "arn:aws:iam:::user/x"}})).is_public());
    assert!(of(json!({"Principal": null, "NotPrincipal": {"AWS": "arn:aws:iam:::user/x"}})).is_public());
    let with = |condition: Value| of(json!({"Condition": condition})).is_public();
    assert!(!with(json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})));
    assert!(with(json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}})));
    assert!(with(json!({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}})));
    assert!(!with(json!({"StringEquals": {"aws:username": "ann"}})));
    assert!(with(json!({"StringLike": {"aws:username": "*"}})));
    assert!(with(json!({"StringEqualsIfExists": {"aws:username": "ann"}})));
    assert!(with(json!({"Bool": {"aws:SecureTransport": "true"}})));
}

#[test]
fn the_delivery_of_logs_can_be_named() {
    let p = of(json!({
        "Effect": "Deny", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject"
    }));
    let service = Who::Service("logging.s3.amazonaws.com");
    assert_eq!(judge(&p, &service, "s3:PutObject", Some("k"), &[]), Some(Effect::Deny));
    assert_eq!(judge(&p, &Who::Root, "s3:PutObject", Some("k"), &[]), None);
}

fn some_statement() -> impl Strategy<Value = Value> {
    let principal = prop_oneof![
        Just(json!("*")),
        Just(json!({"AWS": "arn:aws:iam:::user/ann"})),
        Just(json!({"AWS": "arn:aws:iam:::root"})),
    ];
    let action = prop_oneof![Just("s3:*"), Just("s3:Get*"), Just("s3:PutObject"), Just("s3:DeleteObject")];
    let resource = prop_oneof![Just("*"), Just("arn:aws:s3:::bucket/*"), Just("arn:aws:s3:::bucket/a*")];
    let ip = prop_oneof![Just(None), Just(Some("10.0.0.0/8")), Just(Some("::/0"))];
    (any::<bool>(), principal, action, resource, ip, any::<[bool; 3]>()).prop_map(
        |(allow, principal, action, resource, ip, [not_p, not_a, not_r])| {
            let name = |not: bool, name: &str| if not { format!("Not{name}") } else { name.to_owned() };
            let mut out = json!({
                "Effect": if allow { "Allow" } else { "Deny" }, name(not_p, "Principal"): principal,
                name(not_a, "Action"): action, name(not_r, "Resource"): resource,
            });
            if let Some(ip) = ip {
                out["Condition"] = json!({"IpAddress": {"aws:SourceIp": ip}});
            }
            out
        },
    )
}

fn some_who() -> impl Strategy<Value = Who> {
    prop_oneof![Just(Who::Root), Just(ann()), Just(Who::User("bob".into())), Just(Who::Anonymous)]
}

proptest! {
    /// A policy says what its statements say one by one, a denial first; and more statements never undo a denial.
    #[test]
    fn a_policy_is_the_sum_of_its_statements(
        statements in prop::collection::vec(some_statement(), 1..6), who in some_who(), n in 0usize..ACTIONS.len(),
        key in "[ab]{1,2}", ip in prop_oneof![Just("10.1.1.1"), Just("192.0.2.1"), Just("::1")],
    ) {
        let facts = facts(&[("aws:sourceip", ip)]);
        let ask = Ask { who: &who, action: &ACTIONS[n], bucket: "bucket", key: Some(&key), facts: &facts };
        let whole = policy(&statements).unwrap().judge(&ask);
        let each: Vec<_> = statements.iter().map(|s| policy(std::slice::from_ref(s)).unwrap().judge(&ask)).collect();
        let expected = if each.contains(&Some(Effect::Deny)) {
            Some(Effect::Deny)
        } else {
            each.iter().flatten().next().copied()
        };
        prop_assert_eq!(whole, expected);
        let mut turned = statements.clone();
        turned.reverse();
        prop_assert_eq!(policy(&turned).unwrap().judge(&ask), whole);
    }

    /// What strangers may do under a policy makes the policy public, or a condition on addresses holds.
    #[test]
    fn what_strangers_may_is_called_public(statement in some_statement(), n in 0usize..ACTIONS.len()) {
        let p = policy(std::slice::from_ref(&statement)).unwrap();
        let facts = facts(&[("aws:sourceip", "192.0.2.1")]);
        let ask = Ask { who: &Who::Anonymous, action: &ACTIONS[n], bucket: "bucket", key: Some("a"), facts: &facts };
        prop_assert!(p.judge(&ask) != Some(Effect::Allow) || p.is_public());
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = Policy::parse(text.as_bytes(), "bucket");
    }
}
