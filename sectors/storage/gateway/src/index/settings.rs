//! What a bucket is set to.

use crate::error::GatewayError;
use crate::record::{
    CannedAcl, Label, Labels, Logging, ObjectLock, Ownership, PublicAccess, Rule, Setting, Tags, Versioning,
};

/// All settings of a bucket; the default is what a new bucket has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// Versioning.
    pub versioning: Versioning,
    /// Object lock; `None`: off.
    pub lock: Option<ObjectLock>,
    /// Lifecycle rules.
    pub lifecycle: Vec<Rule>,
    /// Tags.
    pub tags: Tags,
    /// Bucket policy, as JSON.
    pub policy: Option<String>,
    /// Rules for scripts of other origins, encoded.
    pub cors: Option<String>,
    /// Access control list.
    pub acl: CannedAcl,
    /// Object ownership.
    pub ownership: Option<Ownership>,
    /// Public access block.
    pub public_access: Option<PublicAccess>,
    /// Access log.
    pub logging: Option<Logging>,
}

impl BucketSettings {
    /// Whether a setting fits the others.
    ///
    /// # Errors
    /// Object lock needs versioning, for as long as the bucket lives.
    pub fn check(&self, setting: &Setting) -> Result<(), GatewayError> {
        match setting {
            Setting::Versioning(to) if self.lock.is_some() && *to != Versioning::Enabled => {
                Err(GatewayError::BucketState("versioning cannot be suspended where object lock is on"))
            }
            Setting::Versioning(Versioning::Never) if self.versioning != Versioning::Never => {
                Err(GatewayError::BucketState("versioning can be suspended, never taken back"))
            }
            Setting::ObjectLock(_) if self.versioning != Versioning::Enabled => {
                Err(GatewayError::BucketState("object lock needs versioning; enable that first"))
            }
            _ => Ok(()),
        }
    }

    /// Replaces one setting.
    pub fn apply(&mut self, setting: Setting) {
        match setting {
            Setting::Versioning(v) => self.versioning = v,
            Setting::ObjectLock(v) => self.lock = Some(v),
            Setting::Lifecycle(v) => self.lifecycle = v,
            Setting::Tags(v) => self.tags = v,
            Setting::Policy(v) => self.policy = v,
            Setting::Cors(v) => self.cors = v,
            Setting::Acl(v) => self.acl = v,
            Setting::Ownership(v) => self.ownership = v,
            Setting::PublicAccess(v) => self.public_access = v,
            Setting::Logging(v) => self.logging = v,
        }
    }

    /// Settings that make a new bucket equal to this one.
    pub fn list(&self) -> Vec<Setting> {
        let new = Self::default();
        let mut out = Vec::new();
        if self.versioning != new.versioning {
            out.push(Setting::Versioning(self.versioning));
        }
        out.extend(self.lock.map(Setting::ObjectLock));
        if !self.lifecycle.is_empty() {
            out.push(Setting::Lifecycle(self.lifecycle.clone()));
        }
        if !self.tags.is_empty() {
            out.push(Setting::Tags(self.tags.clone()));
        }
        out.extend(self.policy.clone().map(|v| Setting::Policy(Some(v))));
        out.extend(self.cors.clone().map(|v| Setting::Cors(Some(v))));
        if self.acl != new.acl {
            out.push(Setting::Acl(self.acl));
        }
        out.extend(self.ownership.map(|v| Setting::Ownership(Some(v))));
        out.extend(self.public_access.map(|v| Setting::PublicAccess(Some(v))));
        out.extend(self.logging.clone().map(|v| Setting::Logging(Some(v))));
        out
    }
}

impl Labels {
    /// Replaces one label.
    pub fn apply(&mut self, label: Label) {
        match label {
            Label::Tags(v) => self.tags = v,
            Label::Retention(v) => self.retention = v,
            Label::Hold(v) => self.hold = v,
            Label::Acl(v) => self.acl = v,
        }
    }
}
