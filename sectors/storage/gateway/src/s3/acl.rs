//! Access control lists in canned form, and who owns objects.

use super::convert::{answer, owner, refusal, seconds};
use super::gate::denied;
use crate::access::{OWNER_ID, OWNER_NAME};
use crate::gateway::Gateway;
use crate::index::Condition;
use crate::record::{CannedAcl, Label, Ownership, Setting};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

const GROUPS: &str = "http://acs.amazonaws.com/groups/";

/// A list by the name in a header; without one, none.
pub fn named(name: Option<&str>) -> S3Result<Option<CannedAcl>> {
    match name {
        None => Ok(None),
        Some("aws-exec-read") => {
            Err(s3_error!(NotImplemented, "the list aws-exec-read is not implemented here"))
        }
        Some(name) => match CannedAcl::parse(name) {
            Some(list) => Ok(Some(list)),
            None => Err(s3_error!(InvalidArgument, "{name:?} is no canned list; use private or public-read")),
        },
    }
}

/// The list of an object that is being written.
pub fn of_object(acl: Option<&ObjectCannedACL>, grants: [Option<&String>; 4]) -> S3Result<Option<CannedAcl>> {
    no_grants(&grants)?;
    named(acl.map(ObjectCannedACL::as_str))
}

fn no_grants(grants: &[Option<&String>]) -> S3Result<()> {
    if grants.iter().any(Option::is_some) {
        return Err(s3_error!(
            NotImplemented,
            "grants to single grantees are not implemented here; use x-amz-acl"
        ));
    }
    Ok(())
}

/// What the headers of a new bucket set.
pub fn of_new_bucket(i: &CreateBucketInput) -> S3Result<Vec<Setting>> {
    no_grants(&[
        i.grant_full_control.as_ref(),
        i.grant_read.as_ref(),
        i.grant_read_acp.as_ref(),
        i.grant_write.as_ref(),
        i.grant_write_acp.as_ref(),
    ])?;
    let list = named(i.acl.as_ref().map(BucketCannedACL::as_str))?.unwrap_or_default();
    let ownership = i.object_ownership.as_ref().map(kind).transpose()?;
    if ownership == Some(Ownership::Enforced) && list.is_public() {
        return Err(s3_error!(
            InvalidBucketAclWithObjectOwnership,
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        ));
    }
    let mut out: Vec<Setting> = ownership.map(|o| Setting::Ownership(Some(o))).into_iter().collect();
    if list != CannedAcl::default() {
        out.push(Setting::Acl(list));
    }
    Ok(out)
}

/// Grants as S3 writes them.
fn shown(list: CannedAcl) -> Grants {
    let own = Grantee {
        display_name: Some(OWNER_NAME.into()),
        email_address: None,
        id: Some(OWNER_ID.into()),
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let full =
        Grant { grantee: Some(own), permission: Some(Permission::from_static(Permission::FULL_CONTROL)) };
    let group = |(group, permission): &(&'static str, &'static str)| {
        let path = if *group == "LogDelivery" { "s3/LogDelivery" } else { "global/" };
        let name = if *group == "LogDelivery" { "" } else { group };
        Grant {
            grantee: Some(Grantee {
                display_name: None,
                email_address: None,
                id: None,
                type_: Type::from_static(Type::GROUP),
                uri: Some(format!("{GROUPS}{path}{name}")),
            }),
            permission: Some(Permission::from_static(permission)),
        }
    };
    list.grants().iter().map(group).chain([full]).collect()
}

/// The canned list that says the same as a body.
fn of_body(policy: &AccessControlPolicy) -> S3Result<CannedAcl> {
    let not_ours =
        || s3_error!(NotImplemented, "only grants of the canned lists are implemented here; use x-amz-acl");
    if policy.owner.as_ref().and_then(|o| o.id.as_deref()).is_some_and(|id| id != OWNER_ID) {
        return Err(denied("the owner of a list cannot be changed"));
    }
    let (mut groups, mut owner) = (Vec::new(), false);
    for grant in policy.grants.iter().flatten() {
        let permission = grant.permission.as_ref().map(Permission::as_str).unwrap_or_default();
        let Some(grantee) = &grant.grantee else {
            return Err(s3_error!(MalformedACLError, "a grant without a grantee"));
        };
        match (&grantee.uri, &grantee.id) {
            (Some(uri), None) => {
                let name = uri.strip_prefix(GROUPS).map(|rest| rest.trim_start_matches("global/"));
                let name = name.ok_or_else(|| s3_error!(InvalidArgument, "Invalid group uri"))?;
                groups.push((name.trim_start_matches("s3/"), permission));
            }
            (None, Some(id)) if id == OWNER_ID && permission == Permission::FULL_CONTROL => owner = true,
            _ => return Err(not_ours()),
        }
    }
    // Without its own grant an owner could still do everything: it is the account that pays.
    let list = CannedAcl::of_grants(&groups).ok_or_else(not_ours)?;
    if owner || policy.grants.as_ref().is_none_or(Vec::is_empty) { Ok(list) } else { Err(not_ours()) }
}

/// The list that a request sets: in a header or a body, one of them.
fn asked(name: Option<&str>, body: Option<&AccessControlPolicy>) -> S3Result<CannedAcl> {
    match (named(name)?, body) {
        (Some(list), None) => Ok(list),
        (None, Some(body)) => of_body(body),
        (Some(_), Some(_)) => Err(s3_error!(
            UnexpectedContent,
            "This request does not support content: name a canned list or send one, not both"
        )),
        (None, None) => Err(s3_error!(
            MissingSecurityHeader,
            "Your request was missing a required header: x-amz-acl, or a list in the body"
        )),
    }
}

pub async fn put_bucket(g: &Gateway, i: PutBucketAclInput) -> S3Result<S3Response<PutBucketAclOutput>> {
    no_grants(&[
        i.grant_full_control.as_ref(),
        i.grant_read.as_ref(),
        i.grant_read_acp.as_ref(),
        i.grant_write.as_ref(),
        i.grant_write_acp.as_ref(),
    ])?;
    let list = asked(i.acl.as_ref().map(BucketCannedACL::as_str), i.access_control_policy.as_ref())?;
    refuse_public(g, &i.bucket, list)?;
    g.set_bucket(&i.bucket, Setting::Acl(list)).await.map_err(refusal)?;
    answer(PutBucketAclOutput::default())
}

/// A list in a body is as public as one in a header.
fn refuse_public(g: &Gateway, bucket: &str, list: CannedAcl) -> S3Result<()> {
    let index = g.index();
    let blocked = index.bucket(bucket).map_err(refusal)?.settings.public_access.is_some_and(|b| b.block_acls);
    if blocked && list.is_public() {
        return Err(denied("the public access block of the bucket refuses public lists"));
    }
    Ok(())
}

pub fn get_bucket(g: &Gateway, i: &GetBucketAclInput) -> S3Result<S3Response<GetBucketAclOutput>> {
    let list = g.index().bucket(&i.bucket).map_err(refusal)?.settings.acl;
    answer(GetBucketAclOutput { grants: Some(shown(list)), owner: Some(owner()) })
}

pub async fn put_object(g: &Gateway, i: PutObjectAclInput) -> S3Result<S3Response<PutObjectAclOutput>> {
    no_grants(&[
        i.grant_full_control.as_ref(),
        i.grant_read.as_ref(),
        i.grant_read_acp.as_ref(),
        i.grant_write.as_ref(),
        i.grant_write_acp.as_ref(),
    ])?;
    super::convert::unsupported(i.version_id.is_some_and(|v| v != "null"), "the list of a version")?;
    let list = asked(i.acl.as_ref().map(ObjectCannedACL::as_str), i.access_control_policy.as_ref())?;
    refuse_public(g, &i.bucket, list)?;
    g.set_label(&i.bucket, &i.key, None, Label::Acl(Some(list)), Condition::at(seconds()))
        .await
        .map_err(refusal)?;
    answer(PutObjectAclOutput::default())
}

pub fn get_object(g: &Gateway, i: &GetObjectAclInput) -> S3Result<S3Response<GetObjectAclOutput>> {
    super::convert::unsupported(i.version_id.as_ref().is_some_and(|v| v != "null"), "the list of a version")?;
    let list = g.index().object(&i.bucket, &i.key).map_err(refusal)?.labels.acl.unwrap_or_default();
    answer(GetObjectAclOutput { grants: Some(shown(list)), owner: Some(owner()), request_charged: None })
}

fn kind(name: &ObjectOwnership) -> S3Result<Ownership> {
    match name.as_str() {
        ObjectOwnership::BUCKET_OWNER_ENFORCED => Ok(Ownership::Enforced),
        ObjectOwnership::BUCKET_OWNER_PREFERRED => Ok(Ownership::Preferred),
        ObjectOwnership::OBJECT_WRITER => Ok(Ownership::Writer),
        other => {
            Err(s3_error!(InvalidArgument, "{other:?} is no kind of ownership; use BucketOwnerEnforced"))
        }
    }
}

pub async fn put_ownership(
    g: &Gateway,
    i: PutBucketOwnershipControlsInput,
) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
    let [rule] = i.ownership_controls.rules.as_slice() else {
        return Err(s3_error!(MalformedXML, "name exactly one kind of ownership"));
    };
    let to = kind(&rule.object_ownership)?;
    let public = g.index().bucket(&i.bucket).map_err(refusal)?.settings.acl.is_public();
    if to == Ownership::Enforced && public {
        return Err(s3_error!(
            InvalidBucketAclWithObjectOwnership,
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        ));
    }
    g.set_bucket(&i.bucket, Setting::Ownership(Some(to))).await.map_err(refusal)?;
    answer(PutBucketOwnershipControlsOutput::default())
}

pub fn get_ownership(
    g: &Gateway,
    i: &GetBucketOwnershipControlsInput,
) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
    let found = g.index().bucket(&i.bucket).map_err(refusal)?.settings.ownership;
    let name = match found {
        Some(Ownership::Enforced) => ObjectOwnership::BUCKET_OWNER_ENFORCED,
        Some(Ownership::Preferred) => ObjectOwnership::BUCKET_OWNER_PREFERRED,
        Some(Ownership::Writer) => ObjectOwnership::OBJECT_WRITER,
        None => {
            return Err(s3_error!(
                OwnershipControlsNotFoundError,
                "The bucket ownership controls were not found"
            ));
        }
    };
    let rule = OwnershipControlsRule { object_ownership: ObjectOwnership::from_static(name) };
    answer(GetBucketOwnershipControlsOutput {
        ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
    })
}

pub async fn delete_ownership(
    g: &Gateway,
    i: DeleteBucketOwnershipControlsInput,
) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
    g.set_bucket(&i.bucket, Setting::Ownership(None)).await.map_err(refusal)?;
    answer(DeleteBucketOwnershipControlsOutput::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_sent_back() {
        for list in [
            CannedAcl::Private,
            CannedAcl::PublicRead,
            CannedAcl::PublicReadWrite,
            CannedAcl::AuthenticatedRead,
            CannedAcl::LogDeliveryWrite,
        ] {
            let body = AccessControlPolicy { grants: Some(shown(list)), owner: Some(owner()) };
            assert_eq!(of_body(&body).unwrap(), list);
        }
    }

    #[test]
    fn other_grants_are_refused_aloud() {
        let mut grants = shown(CannedAcl::PublicRead);
        grants[0].permission = Some(Permission::from_static(Permission::READ_ACP));
        let body = AccessControlPolicy { grants: Some(grants), owner: None };
        assert_eq!(of_body(&body).unwrap_err().code().as_str(), "NotImplemented");
        let strange = Owner { display_name: None, id: Some("x".into()) };
        let body = AccessControlPolicy { grants: None, owner: Some(strange) };
        assert_eq!(of_body(&body).unwrap_err().code().as_str(), "AccessDenied");
    }

    #[test]
    fn names_are_known_refused_or_wrong() {
        assert_eq!(named(Some("public-read")).unwrap(), Some(CannedAcl::PublicRead));
        assert_eq!(named(Some("aws-exec-read")).unwrap_err().code().as_str(), "NotImplemented");
        assert_eq!(named(Some("public")).unwrap_err().code().as_str(), "InvalidArgument");
        assert_eq!(asked(None, None).unwrap_err().code().as_str(), "MissingSecurityHeader");
    }
}
