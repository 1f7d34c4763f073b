//! Pacing, outside the application: sleeping inside a build would hold back the finality of its parent.

use crate::block::{Ctx, D};
use commonware_consensus::{
    Automaton, CertifiableAutomaton, Handoff,
    types::{Round, View},
};
use commonware_runtime::{Clock, Spawner};
use commonware_utils::channel::oneshot;
use futures::future::{Either, select};
use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// Wraps an automaton so that proposals come at most once per interval.
pub(crate) struct Paced<E, A> {
    runtime: Arc<E>,
    inner: A,
    interval: watch::Receiver<Duration>,
    turns: Arc<Mutex<Turns>>,
}

impl<E, A> Paced<E, A> {
    pub(crate) fn new(runtime: E, inner: A, interval: watch::Receiver<Duration>) -> Self {
        Self { runtime: Arc::new(runtime), inner, interval, turns: Arc::default() }
    }
}

impl<E, A: Clone> Clone for Paced<E, A> {
    fn clone(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            inner: self.inner.clone(),
            interval: self.interval.clone(),
            turns: self.turns.clone(),
        }
    }
}

/// When proposals were released here or seen from others.
///
/// A proposal whose round failed has the same parent as its successor: the successor has waited
/// already, and must not wait a whole interval again.
struct Turns {
    parent: Option<Parent>,
    /// Time of the newest proposal on `parent`.
    newest: SystemTime,
    /// Time of the newest proposal on an earlier parent.
    before: SystemTime,
}

/// View and digest of the parent.
type Parent = (View, D);

impl Default for Turns {
    fn default() -> Self {
        Self { parent: None, newest: SystemTime::UNIX_EPOCH, before: SystemTime::UNIX_EPOCH }
    }
}

impl Turns {
    /// The time from which a proposal on this parent has to wait.
    fn base(&self, parent: Parent) -> SystemTime {
        if self.parent == Some(parent) { self.before } else { self.newest }
    }

    fn note(&mut self, parent: Parent, at: SystemTime) {
        if self.parent != Some(parent) {
            self.before = self.newest;
            self.parent = Some(parent);
        }
        self.newest = at;
    }
}

fn locked(turns: &Mutex<Turns>) -> MutexGuard<'_, Turns> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the interval has passed since `last`; a change of the interval takes effect at once.
async fn wait_turn<E: Clock>(
    runtime: &E,
    interval: &mut watch::Receiver<Duration>,
    last: SystemTime,
) -> SystemTime {
    loop {
        let every = *interval.borrow_and_update();
        let due = last.checked_add(every).unwrap_or(last);
        let now = runtime.current();
        let Ok(wait) = due.duration_since(now) else { return due.max(now) };
        if wait.is_zero() {
            return due;
        }
        // A clock that was set back must not stop the chain for longer than one interval.
        let sleep = runtime.sleep(wait.min(every));
        match select(pin!(sleep), pin!(interval.changed())).await {
            Either::Left(_) => return due.max(now),
            Either::Right((Ok(()), _)) => {}
            // Nobody can change the interval any more: sleep it out.
            Either::Right((Err(_), sleep)) => {
                sleep.await;
                return due.max(now);
            }
        }
    }
}

impl<E, A> Automaton for Paced<E, A>
where
    E: Spawner + Clock,
    A: Automaton<Context = Ctx>,
{
    type Context = Ctx;
    type Digest = A::Digest;

    async fn propose(&mut self, context: Ctx) -> oneshot::Receiver<A::Digest> {
        let (mut sender, receiver) = oneshot::channel();
        let mut inner = self.inner.clone();
        let mut interval = self.interval.clone();
        let turns = self.turns.clone();
        let parent = context.parent;
        let child = self.runtime.child("propose");
        child.spawn(move |runtime| async move {
            let base = locked(&turns).base(parent);
            let turn = pin!(wait_turn(&runtime, &mut interval, base));
            // Consensus closes the channel when it gives the view up.
            let released = match select(turn, pin!(sender.closed())).await {
                Either::Left((released, _)) => released,
                Either::Right(_) => return,
            };
            let Ok(digest) = inner.propose(context).await.await else { return };
            if sender.send(digest).is_ok() {
                locked(&turns).note(parent, released);
            }
        });
        receiver
    }

    async fn verify(&mut self, context: Ctx, payload: A::Digest) -> oneshot::Receiver<bool> {
        locked(&self.turns).note(context.parent, self.runtime.current());
        self.inner.verify(context, payload).await
    }
}

impl<E, A> CertifiableAutomaton for Paced<E, A>
where
    E: Spawner + Clock,
    A: CertifiableAutomaton<Context = Ctx>,
{
    async fn prepare(&mut self, context: Ctx) -> oneshot::Receiver<Handoff<A::Digest>> {
        self.inner.prepare(context).await
    }

    async fn certify(&mut self, round: Round, payload: A::Digest) -> oneshot::Receiver<bool> {
        self.inner.certify(round, payload).await
    }
}
