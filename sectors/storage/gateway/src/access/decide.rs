//! One decision out of scope, policy and lists: first denials, then whatever allows.

use super::Who;
use super::actions::is_about_policy;
use super::key::{Deed, Scope};
use super::policy::{Ask, Effect, Policy};
use crate::record::{CannedAcl, PublicAccess};

/// What a bucket says about access.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Its policy.
    pub policy: Option<&'a Policy>,
    /// Its list.
    pub acl: CannedAcl,
    /// Lists count for nothing (ownership is enforced).
    pub lists_off: bool,
    /// What it blocks.
    pub block: PublicAccess,
}

/// What is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The question.
    pub ask: Ask<'a>,
    /// Scope of the key that signed.
    pub scope: Option<&'a Scope>,
    /// List of the object, if there is one.
    pub object: Option<CannedAcl>,
    /// Prefix of a listing.
    pub listed: Option<&'a str>,
}

/// Decides. An explicit denial wins over everything but the root key's hold on the policy itself.
///
/// # Errors
/// Why it is denied, with what helps.
pub fn decide(rules: &Rules<'_>, case: &Case<'_>) -> Result<(), &'static str> {
    let Ask { who, action, bucket, key, .. } = case.ask;
    let root = *who == Who::Root;
    if root && is_about_policy(action.name) {
        return Ok(());
    }
    let said = rules.policy.and_then(|p| p.judge(&case.ask));
    if said == Some(Effect::Deny) {
        return Err("a statement of the bucket's policy denies it");
    }
    let deed = Deed { action, bucket, key, listed: case.listed };
    if root || case.scope.is_some_and(|s| matches!(who, Who::User(_)) && s.allows(deed)) {
        return Ok(());
    }
    let stranger = *who == Who::Anonymous;
    let restricted = stranger && rules.block.restrict && rules.policy.is_some_and(Policy::is_public);
    if said == Some(Effect::Allow) && !restricted {
        return Ok(());
    }
    let lists = !rules.lists_off && !rules.block.ignore_acls;
    let object = case.object.unwrap_or_default();
    if lists && (rules.acl.opens_bucket(who, action) || object.opens_object(who, action)) {
        return Ok(());
    }
    Err(if stranger {
        "the request is not signed, and neither policy nor list of the bucket opens this to everybody; sign it"
    } else {
        "the scope of this key does not cover it, and neither policy nor list of the bucket allows it"
    })
}

#[cfg(test)]
mod tests {
    use super::super::actions::{ACTIONS, Group, find};
    use super::super::key::Place;
    use super::super::policy::condition::Facts;
    use super::*;
    use proptest::prelude::*;

    fn policy(effect: &str, principal: &str) -> Policy {
        let text = format!(
            r#"{{"Statement":{{"Effect":"{effect}","Principal":{principal},"Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}}}}"#
        );
        Policy::parse(text.as_bytes(), "b").unwrap()
    }

    fn may(
        rules: &Rules<'_>,
        who: &Who,
        scope: Option<&Scope>,
        action: &str,
        object: Option<CannedAcl>,
    ) -> bool {
        let facts = Facts::default();
        let ask = Ask { who, action: find(action).unwrap(), bucket: "b", key: Some("k"), facts: &facts };
        decide(rules, &Case { ask, scope, object, listed: None }).is_ok()
    }

    fn reader() -> Scope {
        let places = vec![Place { bucket: "b".into(), prefix: String::new() }];
        Scope { groups: Group::Read as u8 | Group::List as u8, places, quota: None }
    }

    #[test]
    fn by_default_only_keys_get_in() {
        let rules = Rules::default();
        assert!(may(&rules, &Who::Root, None, "s3:DeleteBucket", None));
        assert!(may(&rules, &Who::User("u".into()), Some(&reader()), "s3:GetObject", None));
        assert!(!may(&rules, &Who::User("u".into()), Some(&reader()), "s3:PutObject", None));
        assert!(!may(&rules, &Who::Anonymous, None, "s3:GetObject", None));
    }

    #[test]
    fn a_denial_holds_even_for_the_root_key_but_not_over_the_policy_itself() {
        let deny = policy("Deny", "\"*\"");
        let rules = Rules { policy: Some(&deny), acl: CannedAcl::PublicReadWrite, ..Rules::default() };
        for who in [Who::Root, Who::User("u".into()), Who::Anonymous] {
            assert!(
                !may(&rules, &who, Some(&reader()), "s3:GetObject", Some(CannedAcl::PublicRead)),
                "{who:?}"
            );
        }
        assert!(may(&rules, &Who::Root, None, "s3:DeleteBucketPolicy", None));
        assert!(!may(&rules, &Who::User("u".into()), None, "s3:DeleteBucketPolicy", None));
    }

    #[test]
    fn policies_and_lists_widen() {
        let allow = policy("Allow", r#"{"AWS":"arn:aws:iam:::user/u"}"#);
        let rules = Rules { policy: Some(&allow), ..Rules::default() };
        assert!(may(&rules, &Who::User("u".into()), Some(&reader()), "s3:PutObject", None));
        assert!(!may(&rules, &Who::User("v".into()), Some(&reader()), "s3:PutObject", None));
        let rules = Rules { acl: CannedAcl::PublicReadWrite, ..Rules::default() };
        assert!(may(&rules, &Who::Anonymous, None, "s3:PutObject", None));
        assert!(!may(&rules, &Who::Anonymous, None, "s3:GetObject", None));
        assert!(may(&rules, &Who::Anonymous, None, "s3:GetObject", Some(CannedAcl::PublicRead)));
    }

    #[test]
    fn blocks_keep_the_public_out() {
        let open = policy("Allow", "\"*\"");
        let mut rules = Rules { policy: Some(&open), ..Rules::default() };
        assert!(may(&rules, &Who::Anonymous, None, "s3:GetObject", None));
        rules.block.restrict = true;
        assert!(!may(&rules, &Who::Anonymous, None, "s3:GetObject", None));
        assert!(
            may(&rules, &Who::User("u".into()), None, "s3:GetObject", None),
            "keys of the account still may"
        );
        let mut rules = Rules { acl: CannedAcl::PublicReadWrite, ..Rules::default() };
        rules.block.ignore_acls = true;
        assert!(!may(&rules, &Who::Anonymous, None, "s3:PutObject", None));
        rules = Rules { acl: CannedAcl::PublicReadWrite, lists_off: true, ..Rules::default() };
        assert!(!may(&rules, &Who::Anonymous, None, "s3:GetObject", Some(CannedAcl::PublicRead)));
    }

    proptest! {
        /// Without a policy and with private lists a stranger may do nothing, and a key exactly what its scope says.
        #[test]
        fn nothing_comes_from_nothing(n in 0usize..ACTIONS.len(), groups in 0u8..32) {
            let scope = Scope { groups, places: Vec::new(), quota: None };
            let facts = Facts::default();
            let (action, user) = (&ACTIONS[n], Who::User("u".into()));
            let case = |who, scope| {
                let ask = Ask { who, action, bucket: "b", key: Some("k"), facts: &facts };
                decide(&Rules::default(), &Case { ask, scope, object: None, listed: None }).is_ok()
            };
            prop_assert!(!case(&Who::Anonymous, Some(&scope)));
            prop_assert_eq!(case(&user, Some(&scope)), scope.has(action.group));
        }
    }
}
