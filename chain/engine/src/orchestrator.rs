//! One engine of consensus after the other: the seats change at the last block of an epoch, everything else stays.

use crate::{
    app::{DbKey, Dbs, Runtime},
    block::{Block, D, Identity},
    engine::height_of,
    keys::{Scheme, Seats},
    seating::{self, Seating},
    validator::Marshal,
};
use commonware_actor::Feedback;
use commonware_consensus::{
    Heightable as _, Reporter,
    marshal::Update,
    simplex::config::Floor,
    types::{Epoch, Epocher as _, Height},
};
use commonware_cryptography::{Digested, Digestible as _, certificate::Provider as _};
use commonware_p2p::{
    Channel, Message, Receiver, Sender,
    utils::mux::{Builder as _, MuxHandle, Muxer, SubReceiver, SubSender},
};
use commonware_runtime::{Handle, Metrics};
use commonware_utils::{Acknowledgement as _, acknowledgement::Exact, vec::NonEmptyVec};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

type Boundary = (Digested<Block>, Exact);

/// Hears of every final block from marshal; passes on the last ones of their epochs, and holds none of the others up.
#[derive(Clone)]
pub(crate) struct Boundaries {
    seating: Seating,
    sender: mpsc::UnboundedSender<Boundary>,
}

impl Boundaries {
    pub(crate) fn new(seating: Seating) -> (Self, mpsc::UnboundedReceiver<Boundary>) {
        // Marshal waits for the acknowledgement of 16 blocks at most, and so bounds the queue.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { seating, sender }, receiver)
    }
}

impl Reporter for Boundaries {
    type Activity = Update<Block>;

    fn report(&mut self, activity: Update<Block>) -> Feedback {
        let Update::Block(block, acknowledgement) = activity else { return Feedback::Ok };
        let epoch = self.seating.epocher().containing(block.height());
        if epoch.is_none_or(|epoch| epoch.last() != block.height()) {
            acknowledgement.acknowledge();
            return Feedback::Ok;
        }
        match self.sender.send((block, acknowledgement)) {
            Ok(()) => Feedback::Ok,
            Err(_) => Feedback::Closed,
        }
    }
}

/// The channels of one epoch's engine.
pub(crate) struct EpochChannels<S: Sender> {
    pub vote: (SubSender<S>, SubReceiver<S::PublicKey>),
    pub certificate: (SubSender<S>, SubReceiver<S::PublicKey>),
    pub resolver: (SubSender<S>, SubReceiver<S::PublicKey>),
}

/// Starts the engine of an epoch. Each epoch has a storage partition of its own: a journal of votes is valid for one
/// epoch only.
pub(crate) trait Launch<S: Sender>: Send + 'static {
    fn launch(
        &self,
        epoch: Epoch,
        scheme: Scheme,
        floor: Floor<Scheme, D>,
        channels: EpochChannels<S>,
    ) -> Handle<()>;
}

/// An epoch's engine; dropped, it stops.
struct Active {
    epoch: Epoch,
    engine: Handle<()>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

type Backup<P> = mpsc::Receiver<(Channel, Message<P>)>;

/// Messages of epochs that are not entered here.
pub(crate) struct Ahead {
    vote: Backup<Identity>,
    certificate: Backup<Identity>,
}

/// The channels from which each epoch takes its part.
pub(crate) struct Muxes<S: Sender> {
    vote: MuxHandle<S>,
    certificate: MuxHandle<S>,
    resolver: MuxHandle<S>,
}

impl<S: Sender<PublicKey = Identity>> Muxes<S> {
    pub(crate) fn start<E, R>(
        context: &E,
        vote: (S, R),
        certificate: (S, R),
        resolver: (S, R),
    ) -> (Self, Ahead)
    where
        E: Runtime,
        R: Receiver<PublicKey = Identity>,
    {
        let vote = Muxer::builder(context.child("vote_mux"), vote.0, vote.1).with_backup().build();
        let certificate = Muxer::builder(context.child("certificate_mux"), certificate.0, certificate.1)
            .with_backup()
            .build();
        let resolver = Muxer::new(context.child("resolver_mux"), resolver.0, resolver.1);
        vote.0.start();
        certificate.0.start();
        resolver.0.start();
        let muxes = Self { vote: vote.1, certificate: certificate.1, resolver: resolver.1 };
        (muxes, Ahead { vote: vote.2, certificate: certificate.2 })
    }

    /// `None`: the muxers have stopped, because the whole validator does.
    async fn open(&mut self, epoch: Epoch) -> Option<EpochChannels<S>> {
        Some(EpochChannels {
            vote: self.vote.register(epoch.get()).await.ok()?,
            certificate: self.certificate.register(epoch.get()).await.ok()?,
            resolver: self.resolver.register(epoch.get()).await.ok()?,
        })
    }
}

/// What runs the engines.
pub(crate) struct Orchestrator<E: Runtime + Metrics, S: Sender, L> {
    pub seating: Seating,
    pub marshal: Marshal,
    pub database: Dbs<E>,
    /// Height of the newest block whose state can be read.
    pub tip: watch::Receiver<u64>,
    pub genesis: D,
    pub muxes: Muxes<S>,
    pub launch: L,
}

impl<E, S, L> Orchestrator<E, S, L>
where
    E: Runtime + Metrics,
    S: Sender<PublicKey = Identity>,
    L: Launch<S>,
{
    /// Runs until the validator stops, or the engine of the present epoch ends, which none does by itself.
    ///
    /// # Panics
    ///
    /// When the state has no seats for the next epoch, which is a defect of the machine: nobody could go on.
    pub(crate) async fn run(mut self, mut boundaries: mpsc::UnboundedReceiver<Boundary>, mut ahead: Ahead) {
        let Some(mut active) = self.resume().await else { return };
        loop {
            // In this order, always: a simulation must not depend on chance outside its seed.
            tokio::select! {
                biased;
                Some((block, acknowledgement)) = boundaries.recv() => {
                    let last = self.last(active.epoch);
                    assert!(block.height() <= last, "the last block of epoch {} was skipped", active.epoch);
                    // A block that comes again after a crash has changed the seats already.
                    if block.height() == last {
                        let floor = Floor::Genesis(block.digest());
                        let Some(next) = self.enter(active.epoch.next(), block.height(), floor).await else { return };
                        // Only now does the engine before stop: others may need its votes to get here.
                        active = next;
                    }
                    acknowledgement.acknowledge();
                }
                Some((epoch, (from, _))) = ahead.vote.recv() => self.hint(active.epoch, epoch, from),
                Some((epoch, (from, _))) = ahead.certificate.recv() => self.hint(active.epoch, epoch, from),
                _ = &mut active.engine => return,
            }
        }
    }

    fn last(&self, epoch: Epoch) -> Height {
        self.seating.epocher().last(epoch).unwrap_or_else(|| Height::new(u64::MAX))
    }

    /// Somebody is in an epoch that is not known here: its messages cannot be checked, but whoever sent them can
    /// serve the certificate of our last block.
    fn hint(&self, ours: Epoch, theirs: Channel, from: Identity) {
        if theirs > ours.get() {
            self.marshal.hint_finalized(self.last(ours), NonEmptyVec::new(from));
        }
    }

    /// Enters the epoch in which the last run was. `None`, here and below: the validator stops.
    async fn resume(&mut self) -> Option<Active> {
        let epocher = self.seating.epocher();
        let processed = self.marshal.get_processed().await;
        let processed = processed.map_or(Height::zero(), |processed| processed.height());
        let epoch = epocher.containing(processed.next()).map_or(Epoch::zero(), |info| info.epoch());
        let Some(before) = epoch.previous() else {
            return self.start(epoch, Floor::Genesis(self.genesis)).await;
        };
        let boundary = self.last(before);
        let block = self.marshal.get_block(boundary).await;
        if block.is_none() && self.marshal.get_processed().await.is_some() {
            panic!("block {boundary}, on which epoch {epoch} stands, is not stored");
        }
        self.enter(epoch, boundary, Floor::Genesis(block?.digest())).await
    }

    /// Reads the seats of an epoch from the state after the last block of the epoch before, and starts its engine.
    async fn enter(&mut self, epoch: Epoch, boundary: Height, floor: Floor<Scheme, D>) -> Option<Active> {
        let seats = self.seats(epoch, boundary).await?;
        self.seating.admit(epoch, seats);
        self.start(epoch, floor).await
    }

    async fn start(&mut self, epoch: Epoch, floor: Floor<Scheme, D>) -> Option<Active> {
        let scheme =
            self.seating.scheme(epoch).expect("the seats of an epoch are admitted before it is entered");
        let channels = self.muxes.open(epoch).await?;
        Some(Active {
            epoch,
            engine: self.launch.launch(epoch, Arc::unwrap_or_clone(scheme), floor, channels),
        })
    }

    async fn seats(&mut self, epoch: Epoch, boundary: Height) -> Option<Seats> {
        let key = self.seating.key(epoch).expect("seats that sit for ever have one epoch without end");
        loop {
            // Before the state is looked at: a block that comes between is noticed.
            self.tip.borrow_and_update();
            {
                let database = self.database.read().await;
                let metadata = database.get_metadata().await.ok().and_then(|m| height_of(m).ok());
                if metadata.is_some_and(|height| height >= boundary.get()) {
                    let row = database.get(&DbKey::new(key)).await;
                    let row = row.unwrap_or_else(|cause| panic!("state storage cannot be read: {cause}"));
                    let seats = row.and_then(|row| seating::decode(&row.0));
                    return Some(seats.unwrap_or_else(|| panic!("the state has no seats for epoch {epoch}")));
                }
            }
            self.tip.changed().await.ok()?;
        }
    }
}
