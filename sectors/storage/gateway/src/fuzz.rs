//! Entry points for fuzzing: any bytes must come back as a value or an error, never as a panic.

use crate::access::actions::ACTIONS;
use crate::access::form::{Fields, FormPolicy};
use crate::access::glob::Pattern;
use crate::access::policy::condition::Facts;
use crate::access::policy::{Ask, Policy};
use crate::access::{Who, cors, date, log, net};
use crate::s3::query::Query;
use crate::server::form;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;

/// An entry point.
pub type Target = (&'static str, fn(&[u8]));

/// Entry points with their names.
pub const TARGETS: &[Target] = &[
    ("gateway.policy", policy),
    ("gateway.form_policy", form_policy),
    ("gateway.form", whole_form),
    ("gateway.texts", texts),
];

/// A bucket policy; what is understood answers every question, and says the same when it is read again.
pub fn policy(data: &[u8]) {
    let Ok(policy) = Policy::parse(data, "bucket") else { return };
    assert_eq!(Policy::parse(data, "bucket").as_ref(), Ok(&policy), "reading is deterministic");
    let mut facts = Facts::default();
    facts.add("aws:sourceip", "192.0.2.1");
    facts.add("s3:prefix", String::from_utf8_lossy(data.get(..20).unwrap_or(data)));
    for who in [Who::Root, Who::User("ann".into()), Who::Anonymous] {
        for action in ACTIONS {
            let _ = policy.judge(&Ask { who: &who, action, bucket: "bucket", key: Some("k"), facts: &facts });
        }
    }
    let _ = (policy.is_public(), policy.needs_tags());
}

/// The policy of a form, as base64 and as JSON that is encoded first.
pub fn form_policy(data: &[u8]) {
    for text in [String::from_utf8_lossy(data).into_owned(), BASE64_STANDARD.encode(data)] {
        if let Ok(policy) = FormPolicy::parse(&text) {
            let fields: Fields = [("key".to_owned(), "k".to_owned())].into();
            let _ = policy.check(&fields, "b", 1);
        }
    }
}

/// A form in pieces.
pub fn whole_form(data: &[u8]) {
    for size in [1, 7, 4096] {
        let pieces: Vec<_> = data.chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let body = form::arriving(futures::stream::iter(pieces));
        futures::executor::block_on(async {
            if let Ok(mut form) = form::read(body, "B").await {
                let mut bytes = 0;
                while let Some(Ok(chunk)) = form.file.next().await {
                    bytes += chunk.len();
                }
                assert!(bytes <= data.len(), "a file is no longer than its form");
            }
        });
    }
}

/// Everything that is read out of headers and queries.
pub fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = (date::parse(&text), net::Net::parse(&text), form::boundary(&text), log::redact(&text));
    let _ = Query::parse(&text).iter().count();
    let (pattern, rest) = text.split_at(text.char_indices().nth(10).map_or(0, |(at, _)| at));
    let _ = Pattern::new(pattern).matches(rest);
    let _ = Pattern::with_variables(&text, true, |_| true).map(|p| p.can_begin(rest));
    let rule =
        cors::Rule { origins: vec![pattern.into()], methods: vec!["GET".into()], ..cors::Rule::default() };
    let _ = (cors::check(std::slice::from_ref(&rule)), cors::preflight(&[rule], rest, "GET", rest));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLES: [&str; 4] = [
        r#"{"Version":"2012-10-17","Id":"i","Statement":[{"Sid":"s","Effect":"Allow","Principal":{"AWS":["*","arn:aws:iam:::user/x"]},"Action":["s3:Get*","s3:List*"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/${aws:username}/*"],"Condition":{"ForAnyValue:StringLikeIfExists":{"s3:prefix":["a*","?"]},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"NumericLessThan":{"s3:max-keys":10},"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}}]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"b"},["starts-with","$key","k"],["content-length-range",0,10]]}"#,
        "--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\\\"b\"\r\nContent-Type: text/x\r\n\r\nbytes\r\n--B--\r\n",
        "multipart/form-data; boundary=\"a\\\"b\"; x=y?X-Amz-Signature=1&a%20b=%zz${",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn mutated_samples_do_not_panic(which in 0usize..4, cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..8)) {
            let mut data = SAMPLES[which].as_bytes().to_vec();
            for (at, byte, how) in cuts {
                let at = at.index(data.len().max(1)).min(data.len().saturating_sub(1));
                match how {
                    0 if !data.is_empty() => data[at] = byte,
                    1 => data.insert(at, byte),
                    _ if !data.is_empty() => drop(data.remove(at)),
                    _ => {}
                }
            }
            for (_, target) in TARGETS {
                target(&data);
            }
        }
    }

    #[test]
    fn the_samples_are_understood() {
        assert!(Policy::parse(SAMPLES[0].as_bytes(), "bucket").is_ok());
        assert!(FormPolicy::parse(&BASE64_STANDARD.encode(SAMPLES[1])).is_ok());
        for (_, target) in TARGETS {
            SAMPLES.iter().for_each(|s| target(s.as_bytes()));
        }
    }
}
