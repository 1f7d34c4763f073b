//! The actions that a request needs, and what they belong to.
//!
//! Source of the names: "Actions, resources, and condition keys for Amazon S3", service authorization reference.

/// What an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The list of buckets.
    Account,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// What the scope of an access key allows together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Group {
    /// Reading objects and what belongs to them.
    Read = 1,
    /// Listing buckets, objects, versions and uploads.
    List = 2,
    /// Writing objects, and making buckets.
    Write = 4,
    /// Deleting objects and buckets.
    Delete = 8,
    /// Settings of buckets, rights on objects.
    Manage = 16,
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// `s3:GetObject`.
    pub name: &'static str,
    /// What it is about.
    pub kind: Kind,
    /// What it belongs to.
    pub group: Group,
}

macro_rules! actions {
    ($($kind:ident $group:ident: $($name:literal)+;)+) => {
        /// Every action that is known here.
        pub const ACTIONS: &[Action] = &[
            $($(Action { name: concat!("s3:", $name), kind: Kind::$kind, group: Group::$group },)+)+
        ];
    };
}

actions! {
    Account List: "ListAllMyBuckets";
    Object Read: "GetObject" "GetObjectVersion" "GetObjectTagging" "GetObjectVersionTagging" "GetObjectAttributes"
        "GetObjectVersionAttributes" "GetObjectRetention" "GetObjectLegalHold" "GetObjectTorrent";
    Object Write: "PutObject" "PutObjectTagging" "PutObjectVersionTagging" "DeleteObjectTagging"
        "DeleteObjectVersionTagging" "AbortMultipartUpload" "ListMultipartUploadParts" "RestoreObject";
    Object Delete: "DeleteObject" "DeleteObjectVersion";
    Object Manage: "GetObjectAcl" "GetObjectVersionAcl" "PutObjectAcl" "PutObjectVersionAcl" "PutObjectRetention"
        "PutObjectLegalHold" "BypassGovernanceRetention";
    Bucket List: "ListBucket" "ListBucketVersions" "ListBucketMultipartUploads" "GetBucketLocation";
    Bucket Write: "CreateBucket";
    Bucket Delete: "DeleteBucket";
    Bucket Manage: "GetBucketPolicy" "PutBucketPolicy" "DeleteBucketPolicy" "GetBucketPolicyStatus" "GetBucketAcl"
        "PutBucketAcl" "GetBucketCORS" "PutBucketCORS" "GetBucketVersioning" "PutBucketVersioning"
        "GetLifecycleConfiguration" "PutLifecycleConfiguration" "GetBucketTagging" "PutBucketTagging"
        "GetBucketLogging" "PutBucketLogging" "GetBucketObjectLockConfiguration"
        "PutBucketObjectLockConfiguration" "GetBucketOwnershipControls" "PutBucketOwnershipControls"
        "GetBucketPublicAccessBlock" "PutBucketPublicAccessBlock" "GetEncryptionConfiguration"
        "PutEncryptionConfiguration" "GetBucketNotification" "PutBucketNotification" "GetBucketRequestPayment"
        "PutBucketRequestPayment" "GetBucketWebsite" "PutBucketWebsite" "DeleteBucketWebsite"
        "GetReplicationConfiguration" "PutReplicationConfiguration" "GetAccelerateConfiguration"
        "PutAccelerateConfiguration" "GetAnalyticsConfiguration" "PutAnalyticsConfiguration"
        "GetInventoryConfiguration" "PutInventoryConfiguration" "GetMetricsConfiguration"
        "PutMetricsConfiguration" "GetIntelligentTieringConfiguration" "PutIntelligentTieringConfiguration";
}

/// An action by its name, whatever the case.
pub fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|a| a.name.eq_ignore_ascii_case(name))
}

/// The action of an operation (the name in the S3 API), of a named version if `version`. Copies need more: see the
/// caller. `None`: nobody but the root key.
pub fn of_operation(operation: &str, version: bool) -> Option<&'static Action> {
    let name = match (operation, version) {
        ("ListBuckets", _) => "s3:ListAllMyBuckets",
        ("GetObject" | "HeadObject", false) => "s3:GetObject",
        ("GetObject" | "HeadObject", true) => "s3:GetObjectVersion",
        (
            "PutObject"
            | "PostObject"
            | "CopyObject"
            | "CreateMultipartUpload"
            | "UploadPart"
            | "UploadPartCopy"
            | "CompleteMultipartUpload",
            _,
        ) => "s3:PutObject",
        ("ListParts", _) => "s3:ListMultipartUploadParts",
        ("ListMultipartUploads", _) => "s3:ListBucketMultipartUploads",
        ("ListObjects" | "ListObjectsV2" | "HeadBucket", _) => "s3:ListBucket",
        ("ListObjectVersions", _) => "s3:ListBucketVersions",
        // Judged key by key.
        ("DeleteObject" | "DeleteObjects", false) => "s3:DeleteObject",
        ("DeleteObject" | "DeleteObjects", true) => "s3:DeleteObjectVersion",
        ("GetObjectTagging", true) => "s3:GetObjectVersionTagging",
        ("PutObjectTagging", true) => "s3:PutObjectVersionTagging",
        ("DeleteObjectTagging", true) => "s3:DeleteObjectVersionTagging",
        ("GetObjectAcl", true) => "s3:GetObjectVersionAcl",
        ("PutObjectAcl", true) => "s3:PutObjectVersionAcl",
        ("GetObjectAttributes", true) => "s3:GetObjectVersionAttributes",
        ("GetBucketCors", _) => "s3:GetBucketCORS",
        ("PutBucketCors" | "DeleteBucketCors", _) => "s3:PutBucketCORS",
        ("GetBucketLifecycleConfiguration", _) => "s3:GetLifecycleConfiguration",
        ("PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle", _) => "s3:PutLifecycleConfiguration",
        ("DeleteBucketTagging", _) => "s3:PutBucketTagging",
        ("GetObjectLockConfiguration", _) => "s3:GetBucketObjectLockConfiguration",
        ("PutObjectLockConfiguration", _) => "s3:PutBucketObjectLockConfiguration",
        ("DeleteBucketOwnershipControls", _) => "s3:PutBucketOwnershipControls",
        ("GetPublicAccessBlock", _) => "s3:GetBucketPublicAccessBlock",
        ("PutPublicAccessBlock" | "DeletePublicAccessBlock", _) => "s3:PutBucketPublicAccessBlock",
        ("GetBucketEncryption", _) => "s3:GetEncryptionConfiguration",
        ("PutBucketEncryption" | "DeleteBucketEncryption", _) => "s3:PutEncryptionConfiguration",
        ("GetBucketNotificationConfiguration", _) => "s3:GetBucketNotification",
        ("PutBucketNotificationConfiguration", _) => "s3:PutBucketNotification",
        ("GetBucketReplication", _) => "s3:GetReplicationConfiguration",
        ("PutBucketReplication" | "DeleteBucketReplication", _) => "s3:PutReplicationConfiguration",
        ("GetBucketAccelerateConfiguration", _) => "s3:GetAccelerateConfiguration",
        ("PutBucketAccelerateConfiguration", _) => "s3:PutAccelerateConfiguration",
        (same, _) => return ACTIONS.iter().find(|a| &a.name[3..] == same),
    };
    find(name)
}

/// Actions of a policy from which nobody can lock out the root key.
pub fn is_about_policy(name: &str) -> bool {
    matches!(
        name,
        "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetBucketPolicyStatus"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_that_we_answer_has_its_action() {
        for (operation, version, action) in [
            ("HeadObject", true, "s3:GetObjectVersion"),
            ("UploadPartCopy", false, "s3:PutObject"),
            ("HeadBucket", false, "s3:ListBucket"),
            ("GetObjectTagging", false, "s3:GetObjectTagging"),
            ("DeleteBucketPolicy", false, "s3:DeleteBucketPolicy"),
            ("GetBucketAcl", false, "s3:GetBucketAcl"),
            ("AbortMultipartUpload", false, "s3:AbortMultipartUpload"),
            ("DeleteObject", true, "s3:DeleteObjectVersion"),
            ("DeletePublicAccessBlock", false, "s3:PutBucketPublicAccessBlock"),
        ] {
            assert_eq!(of_operation(operation, version).map(|a| a.name), Some(action), "{operation}");
        }
        assert_eq!(of_operation("SelectObjectContent", false), None);
    }

    #[test]
    fn no_action_is_named_twice() {
        let mut names: Vec<_> = ACTIONS.iter().map(|a| a.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ACTIONS.len());
    }
}
