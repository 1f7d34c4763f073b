//! State sync source: none yet (docs/adr/0003), a lagging validator replays blocks.

use commonware_glue::stateful::db::{AttachableResolver, Shared};
use commonware_storage::qmdb::{
    self,
    sync::{Request, Source},
};
use std::{convert::Infallible, marker::PhantomData};

/// A source that never answers.
pub(crate) struct NoSource<DB>(PhantomData<fn() -> DB>);

impl<DB> Default for NoSource<DB> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<DB> Clone for NoSource<DB> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<DB: Send + Sync + 'static> AttachableResolver<DB> for NoSource<DB> {
    async fn attach_database(&self, _: Shared<DB>) {}
}

impl<DB: qmdb::sync::Database + Send + Sync + 'static> Source for NoSource<DB> {
    type Family = DB::Family;
    type Digest = DB::Digest;
    type Op = DB::Op;
    type Error = Infallible;

    async fn serve(&self, _: Request<DB::Family>) -> qmdb::sync::source::Result<Self> {
        std::future::pending().await
    }
}
