//! Pacing, outside the application: sleeping inside a build would hold back the finality of its parent.

use commonware_consensus::{Automaton, CertifiableAutomaton, Handoff, types::Round};
use commonware_runtime::{Clock, Spawner};
use commonware_utils::channel::oneshot;
use futures::future::{Either, select};
use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// Wraps an automaton so that proposals come at most once per interval.
pub(crate) struct Paced<E, A> {
    runtime: Arc<E>,
    inner: A,
    interval: watch::Receiver<Duration>,
    /// When the last proposal was released here or seen from another validator.
    last: Arc<Mutex<SystemTime>>,
}

impl<E, A> Paced<E, A> {
    pub(crate) fn new(runtime: E, inner: A, interval: watch::Receiver<Duration>) -> Self {
        let last = Arc::new(Mutex::new(SystemTime::UNIX_EPOCH));
        Self { runtime: Arc::new(runtime), inner, interval, last }
    }
}

impl<E, A: Clone> Clone for Paced<E, A> {
    fn clone(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            inner: self.inner.clone(),
            interval: self.interval.clone(),
            last: self.last.clone(),
        }
    }
}

fn set(last: &Mutex<SystemTime>, at: SystemTime) {
    *last.lock().unwrap_or_else(PoisonError::into_inner) = at;
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
    A: Automaton,
    A::Context: Send + 'static,
{
    type Context = A::Context;
    type Digest = A::Digest;

    async fn propose(&mut self, context: A::Context) -> oneshot::Receiver<A::Digest> {
        let (mut sender, receiver) = oneshot::channel();
        let mut inner = self.inner.clone();
        let mut interval = self.interval.clone();
        let last = self.last.clone();
        let child = self.runtime.child("propose");
        child.spawn(move |runtime| async move {
            let before = *last.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = pin!(wait_turn(&runtime, &mut interval, before));
            // Consensus closes the channel when it gives the view up.
            let released = match select(turn, pin!(sender.closed())).await {
                Either::Left((released, _)) => released,
                Either::Right(_) => return,
            };
            let Ok(digest) = inner.propose(context).await.await else { return };
            // A build that consensus gave up must not use up the turn.
            if sender.send(digest).is_ok() {
                set(&last, released);
            }
        });
        receiver
    }

    async fn verify(&mut self, context: A::Context, payload: A::Digest) -> oneshot::Receiver<bool> {
        set(&self.last, self.runtime.current());
        self.inner.verify(context, payload).await
    }
}

impl<E, A> CertifiableAutomaton for Paced<E, A>
where
    E: Spawner + Clock,
    A: CertifiableAutomaton,
    A::Context: Send + 'static,
{
    async fn prepare(&mut self, context: A::Context) -> oneshot::Receiver<Handoff<A::Digest>> {
        self.inner.prepare(context).await
    }

    async fn certify(&mut self, round: Round, payload: A::Digest) -> oneshot::Receiver<bool> {
        self.inner.certify(round, payload).await
    }
}
