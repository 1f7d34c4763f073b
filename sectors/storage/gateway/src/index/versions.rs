//! The versions of keys, encoded: decoded they take several times the memory, and there are millions of them.

use super::{Bucket, Version};
use crate::error::GatewayError;
use crate::record::VersionId;
use cairn_types::encode;

/// A version's borsh bytes: its id (8 bytes, little-endian), whether it is a null version, whether it is an object,
/// the object.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.open())
    }
}

impl Packed {
    pub(crate) fn new(version: &Version) -> Self {
        Self(encode(version).into())
    }
    /// Its place among the versions of its key.
    pub(crate) fn order(&self) -> VersionId {
        let mut id = [0; 8];
        self.0.iter().zip(&mut id).for_each(|(from, to)| *to = *from);
        VersionId(u64::from_le_bytes(id))
    }
    pub(crate) fn null(&self) -> bool {
        self.0.get(8) == Some(&1)
    }
    pub(crate) fn marker(&self) -> bool {
        self.0.get(9) == Some(&0)
    }
    /// What clients call it.
    pub(crate) fn id(&self) -> VersionId {
        if self.null() { VersionId::NULL } else { self.order() }
    }
    pub(crate) fn open(&self) -> Version {
        // Only `new` makes these bytes.
        cairn_types::decode(&self.0).expect("what was encoded here can be decoded")
    }
}

/// All versions of a key, oldest first; never none. Most keys have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    One(Packed),
    Many(Vec<Packed>),
}

impl Versions {
    /// Oldest first.
    pub(crate) fn all(&self) -> &[Packed] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
    /// The newest one, a delete marker perhaps.
    pub(crate) fn current(&self) -> Option<&Packed> {
        self.all().last()
    }
    fn at(&self, id: VersionId) -> Option<usize> {
        if id == VersionId::NULL {
            return self.all().iter().position(Packed::null);
        }
        let at = self.all().binary_search_by_key(&id, Packed::order).ok()?;
        self.all().get(at).filter(|v| !v.null()).map(|_| at)
    }
    fn change(self, change: impl FnOnce(&mut Vec<Packed>)) -> Option<Self> {
        let mut all = match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        };
        change(&mut all);
        match all.len() {
            0 => None,
            1 => all.pop().map(Self::One),
            _ => {
                all.shrink_to_fit();
                Some(Self::Many(all))
            }
        }
    }
}

impl Bucket {
    pub(super) fn find(&self, key: &[u8], id: Option<VersionId>) -> Option<&Packed> {
        let versions = self.objects.get(key)?;
        match id {
            None => versions.current(),
            Some(id) => versions.at(id).and_then(|at| versions.all().get(at)),
        }
    }

    /// Puts a version where its id belongs; one of the same id is replaced.
    pub(super) fn insert(&mut self, key: &[u8], version: &Version) {
        let (packed, order) = (Packed::new(version), version.id);
        let Some(slot) = self.objects.get_mut(key) else {
            self.objects.insert(key.into(), Versions::One(packed));
            return;
        };
        let old = std::mem::replace(slot, Versions::Many(Vec::new()));
        let new = old.change(|all| match all.binary_search_by_key(&order, Packed::order) {
            Ok(at) => all[at] = packed,
            Err(at) => all.insert(at, packed),
        });
        if let Some(new) = new {
            *slot = new;
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], id: VersionId) -> Option<Version> {
        let slot = self.objects.get_mut(key)?;
        let at = slot.at(id)?;
        let old = std::mem::replace(slot, Versions::Many(Vec::new()));
        let mut gone = None;
        match old.change(|all| gone = Some(all.remove(at))) {
            Some(rest) => *slot = rest,
            None => drop(self.objects.remove(key)),
        }
        gone.map(|packed| packed.open())
    }

    /// A version, or the current one.
    ///
    /// # Errors
    /// There is none.
    pub fn version(&self, key: &str, id: Option<VersionId>) -> Result<Version, GatewayError> {
        let missing = || match id {
            None => GatewayError::NoSuchKey(key.into()),
            Some(id) => GatewayError::NoSuchVersion(key.into(), id),
        };
        self.find(key.as_bytes(), id).map(Packed::open).ok_or_else(missing)
    }

    /// Keys that have a version or a delete marker.
    pub fn keys(&self) -> usize {
        self.objects.len()
    }
}
