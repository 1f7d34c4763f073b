//! Who may do what: access keys and their scopes, bucket policies, canned ACLs, CORS, form policies. Pure: values in,
//! a decision out.

pub mod acl;
pub mod actions;
pub mod cors;
pub mod date;
pub mod decide;
pub mod form;
pub mod glob;
pub mod json;
pub mod key;
pub mod log;
pub mod net;
pub mod policy;
pub mod throttle;

/// Number of the one account of an endpoint, where S3 writes twelve digits.
pub const ACCOUNT: &str = "000000000000";
/// Canonical id of that account, where S3 names an owner.
pub const OWNER_ID: &str = "6361697261746865656e64706f696e7473206f6e65206163636f756e74202020";
/// Name shown with [`OWNER_ID`].
pub const OWNER_NAME: &str = "cairn";

/// On whose behalf a request comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The key made at the start, which has no limits.
    Root,
    /// Holders of keys with this name.
    User(String),
    /// Nobody known.
    Anonymous,
    /// A part of the endpoint itself, such as the delivery of access logs.
    Service(&'static str),
}

impl Who {
    /// As policies and logs write it.
    pub fn arn(&self) -> String {
        match self {
            Self::Root => format!("arn:aws:iam::{ACCOUNT}:root"),
            Self::User(name) => format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
            Self::Anonymous => "-".into(),
            Self::Service(name) => (*name).into(),
        }
    }
}
