//! Bucket policies: the language of S3, with nothing in it that is taken without being understood.
//!
//! Source: "Policies and permissions in Amazon S3", user guide; "IAM JSON policy elements", IAM user guide.

pub mod condition;
mod parse;
#[cfg(test)]
mod tests;

use super::Who;
use super::actions::Action;
use super::glob::Pattern;
use condition::{Condition, Facts};

/// Largest policy in bytes, as S3 has it.
pub const MAX_POLICY: usize = 20 << 10;

/// Why a policy is refused, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies, whatever else allows.
    Deny,
}

/// Whom a statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Party {
    /// `*`: everybody, known or not.
    Everybody,
    /// The account.
    Account,
    /// Keys with a name.
    User(String),
    /// A part of the endpoint.
    Service(String),
}

/// A list that a statement gives, or everything but it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed<T> {
    not: bool,
    items: Vec<T>,
}

impl<T> Listed<T> {
    fn holds(&self, test: impl Fn(&T) -> bool) -> bool {
        self.items.iter().any(test) != self.not
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    principals: Listed<Party>,
    /// Lower-case.
    actions: Listed<Pattern>,
    /// Behind `arn:aws:s3:::`.
    resources: Listed<Pattern>,
    conditions: Vec<Condition>,
}

/// A policy that is understood as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// One question to a policy.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who asks.
    pub who: &'a Who,
    /// What for.
    pub action: &'a Action,
    /// The bucket.
    pub bucket: &'a str,
    /// The key, of an object's action.
    pub key: Option<&'a str>,
    /// What is known about the request.
    pub facts: &'a Facts,
}

impl Policy {
    /// Reads a policy of a bucket.
    ///
    /// # Errors
    /// What is not JSON, not a policy, or not understood here.
    pub fn parse(text: &[u8], bucket: &str) -> Result<Self, Malformed> {
        parse::policy(text, bucket)
    }

    /// What it says: a denial wins, then a permission; `None`: nothing.
    pub fn judge(&self, ask: &Ask<'_>) -> Option<Effect> {
        let mut found = None;
        for statement in self.statements.iter().filter(|s| s.applies(ask)) {
            match statement.effect {
                Effect::Deny => return Some(Effect::Deny),
                Effect::Allow => found = Some(Effect::Allow),
            }
        }
        found
    }

    /// Whether it opens something to everybody: an allowing statement for all, without a condition that fixes where
    /// or who they are.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }

    /// Whether it looks at tags of objects that are there, which then have to be looked up.
    pub fn needs_tags(&self) -> bool {
        self.statements.iter().flat_map(|s| &s.conditions).any(Condition::needs_tags)
    }
}

impl Party {
    fn is(&self, who: &Who, effect: Effect) -> bool {
        match (self, who) {
            (Self::Everybody, who) => !matches!(who, Who::Service(_)),
            // Allowing the account leaves it to the account whom it lets; denying it denies all of it.
            (Self::Account, Who::Root) => true,
            (Self::Account, Who::User(_)) => effect == Effect::Deny,
            (Self::User(name), Who::User(asks)) => name == asks,
            (Self::Service(name), Who::Service(asks)) => name == asks,
            _ => false,
        }
    }

    /// Whether an exception from a list covers somebody: an excepted account covers all of it.
    fn excepts(&self, who: &Who) -> bool {
        matches!((self, who), (Self::Account, Who::User(_))) || self.is(who, Effect::Deny)
    }
}

impl Statement {
    fn applies(&self, ask: &Ask<'_>) -> bool {
        self.names(ask.who)
            && self.actions.holds(|p| p.matches(&ask.action.name.to_ascii_lowercase()))
            && self.covers(ask)
            && self.conditions.iter().all(|c| c.holds(ask.facts))
    }

    fn names(&self, who: &Who) -> bool {
        if self.principals.not {
            !self.principals.items.iter().any(|p| p.excepts(who))
        } else {
            self.principals.items.iter().any(|p| p.is(who, self.effect))
        }
    }

    fn covers(&self, ask: &Ask<'_>) -> bool {
        let resource = match ask.key {
            Some(key) => format!("{}/{key}", ask.bucket),
            None => ask.bucket.to_owned(),
        };
        self.resources.holds(|p| p.matches_with(&resource, |name| ask.facts.one(name)))
    }

    fn is_public(&self) -> bool {
        let anyone = self.principals.not || self.principals.items.contains(&Party::Everybody);
        self.effect == Effect::Allow && anyone && !self.conditions.iter().any(Condition::fixes_who)
    }
}
