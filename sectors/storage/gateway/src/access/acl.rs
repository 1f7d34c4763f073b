//! Access control lists in their canned forms.

use super::Who;
use super::actions::Action;
use crate::record::CannedAcl;

/// Every list with its name in `x-amz-acl`.
const NAMES: [(CannedAcl, &str); 7] = [
    (CannedAcl::Private, "private"),
    (CannedAcl::PublicRead, "public-read"),
    (CannedAcl::PublicReadWrite, "public-read-write"),
    (CannedAcl::AuthenticatedRead, "authenticated-read"),
    (CannedAcl::BucketOwnerRead, "bucket-owner-read"),
    (CannedAcl::BucketOwnerFullControl, "bucket-owner-full-control"),
    (CannedAcl::LogDeliveryWrite, "log-delivery-write"),
];

/// A group and what it is granted: `AllUsers` or `AuthenticatedUsers`; `READ` or `WRITE`.
pub type Grant = (&'static str, &'static str);

impl CannedAcl {
    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, n)| *n == name).map(|(acl, _)| *acl)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(acl, _)| *acl == self).map_or("private", |(_, n)| n)
    }

    /// Whether strangers get something.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::PublicRead | Self::PublicReadWrite | Self::AuthenticatedRead)
    }

    /// What it grants to groups. The forms about the bucket's owner grant nothing more: one account owns everything.
    pub const fn grants(self) -> &'static [Grant] {
        match self {
            Self::Private | Self::BucketOwnerRead | Self::BucketOwnerFullControl => &[],
            Self::PublicRead => &[("AllUsers", "READ")],
            Self::PublicReadWrite => &[("AllUsers", "READ"), ("AllUsers", "WRITE")],
            Self::AuthenticatedRead => &[("AuthenticatedUsers", "READ")],
            Self::LogDeliveryWrite => &[("LogDelivery", "WRITE"), ("LogDelivery", "READ_ACP")],
        }
    }

    /// The list with exactly these grants, in any order.
    pub fn of_grants(grants: &[(&str, &str)]) -> Option<Self> {
        NAMES.into_iter().map(|(acl, _)| acl).find(|acl| {
            let own = acl.grants();
            own.len() == grants.len() && own.iter().all(|g| grants.contains(g))
        })
    }

    fn grants_to(self, who: &Who, permission: &str) -> bool {
        let open = |group: &str| match who {
            Who::Anonymous => group == "AllUsers",
            Who::Root | Who::User(_) => group == "AllUsers" || group == "AuthenticatedUsers",
            Who::Service(_) => false,
        };
        self.grants().iter().any(|(group, p)| *p == permission && open(group))
    }

    /// Whether it lets somebody do this, when it is a bucket's.
    pub fn opens_bucket(self, who: &Who, action: &Action) -> bool {
        match action.name {
            "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => {
                self.grants_to(who, "READ")
            }
            "s3:PutObject" | "s3:AbortMultipartUpload" | "s3:ListMultipartUploadParts" => {
                self.grants_to(who, "WRITE")
            }
            _ => false,
        }
    }

    /// Whether it lets somebody do this, when it is an object's.
    pub fn opens_object(self, who: &Who, action: &Action) -> bool {
        matches!(action.name, "s3:GetObject" | "s3:GetObjectVersion") && self.grants_to(who, "READ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::actions::find;
    use super::*;

    #[test]
    fn who_gets_what() {
        let (get, put, list) =
            (find("s3:GetObject").unwrap(), find("s3:PutObject").unwrap(), find("s3:ListBucket").unwrap());
        let user = Who::User("ann".into());
        assert!(CannedAcl::PublicRead.opens_object(&Who::Anonymous, get));
        assert!(!CannedAcl::PublicRead.opens_object(&Who::Anonymous, put));
        assert!(!CannedAcl::AuthenticatedRead.opens_object(&Who::Anonymous, get));
        assert!(CannedAcl::AuthenticatedRead.opens_object(&user, get));
        assert!(CannedAcl::PublicReadWrite.opens_bucket(&Who::Anonymous, put));
        assert!(!CannedAcl::PublicRead.opens_bucket(&user, put));
        assert!(CannedAcl::PublicRead.opens_bucket(&Who::Anonymous, list));
        assert!(!CannedAcl::PublicReadWrite.opens_bucket(&Who::Anonymous, get), "objects have their own");
        assert!(!CannedAcl::PublicReadWrite.opens_bucket(&Who::Anonymous, find("s3:DeleteObject").unwrap()));
        assert!(
            !CannedAcl::Private.opens_bucket(&user, list) && !CannedAcl::Private.opens_object(&user, get)
        );
    }

    #[test]
    fn names_go_both_ways() {
        for (acl, name) in NAMES {
            assert_eq!(CannedAcl::parse(name), Some(acl));
            assert_eq!(acl.name(), name);
        }
        for acl in [CannedAcl::Private, CannedAcl::PublicReadWrite, CannedAcl::AuthenticatedRead] {
            assert_eq!(CannedAcl::of_grants(acl.grants()), Some(acl));
        }
        assert_eq!(CannedAcl::parse("aws-exec-read"), None);
        assert_eq!(CannedAcl::parse("public"), None);
        assert_eq!(CannedAcl::of_grants(&[("AllUsers", "WRITE")]), None);
    }
}
