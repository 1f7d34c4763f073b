//! Wires every actor of one validator: the only place that knows how they fit together.

use crate::{
    app::{App, Dbs, Runtime},
    block::{Block, Ctx, D, Identity},
    keys::Scheme,
    machine::Machine,
    orchestrator::{Boundaries, EpochChannels, Launch, Muxes, Orchestrator},
    pace::Paced,
    seating::Seating,
    sync::ByteSource,
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    CertifiableAutomaton, Relay, Reporter, Reporters,
    marshal::{
        self,
        core::{Actor as MarshalActor, Mailbox as MarshalMailbox},
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{
        self,
        config::{Floor, ForwardPolicy, SkipPolicy},
        elector::RoundRobin,
        types::Activity,
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible as _, Sha256, certificate::Verifier as _};
use commonware_glue::stateful::{
    Config as StatefulConfig, Stateful, SyncPlan,
    db::{DatabaseSet, SyncEngineConfig},
};
use commonware_p2p::{Blocker, Provider as PeerProvider, Receiver, Sender, utils::mux};
use commonware_parallel::Sequential;
use commonware_runtime::{Handle, Metrics, buffer::paged::CacheRef};
use commonware_storage::{
    archive::prunable, journal::contiguous::variable::Config as VarLogConfig,
    merkle::full::Config as MerkleConfig, qmdb::current::VariableConfig, translator::EightCap,
};
use commonware_utils::{NZDuration, NZU16, NZU64, NZUsize};
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Marshal's mailbox as this crate instantiates it.
pub(crate) type Marshal = MarshalMailbox<Scheme, Standard<Block>>;

/// Blocks or certificates in one file of an archive. Storage format: never change.
const ARCHIVE_SECTION: NonZeroU64 = NZU64!(1024);
/// State operations or tree nodes in one file. Storage format: never change.
const STATE_SECTION: NonZeroU64 = NZU64!(65536);
/// Buffer of a writer or of a replaying reader, in bytes.
const BUFFER: NonZeroUsize = NZUsize!(64 * 1024);
/// Queue length of an actor, in messages.
const MAILBOX: NonZeroUsize = NZUsize!(256);

/// The five logical channels of a validator.
pub(crate) struct Channels<S, R> {
    pub vote: (S, R),
    pub certificate: (S, R),
    pub resolver: (S, R),
    pub backfill: (S, R),
    pub broadcast: (S, R),
}

/// What tells one validator from another.
pub(crate) struct Params {
    /// Unique prefix of the storage partitions.
    pub prefix: String,
    pub me: Identity,
    pub seating: Seating,
    /// Seats of the largest set that the network will have.
    pub seats: u32,
    pub machine: Arc<dyn Machine>,
    pub max_body: usize,
    pub interval: watch::Receiver<Duration>,
    /// How long a leader may stay silent. Rounds in which the pace outlasts it are skipped, which
    /// costs a lone validator nothing, and several a change of leader.
    pub leader_timeout: Duration,
    pub tip: Arc<watch::Sender<u64>>,
}

/// A running validator.
pub(crate) struct Validator<E: Runtime + Metrics> {
    pub database: Dbs<E>,
    pub marshal: Marshal,
    pub engine: Handle<()>,
}

/// Largest message of a network of `seats` validators, in bytes.
pub(crate) fn max_message_size(seats: u32, max_body: usize) -> u32 {
    commonware_p2p::max_message_size(&[
        // Each epoch of seats has a channel within the channel.
        mux::prefixed(simplex::max_payload_size::<Scheme, D>(seats)),
        marshal::max_payload_size::<Standard<Block>, Scheme>(seats, &max_body),
    ])
}

fn archive<C>(prefix: &str, name: &str, cache: &CacheRef, codec_config: C) -> prunable::Config<EightCap, C> {
    prunable::Config {
        translator: EightCap,
        metadata_partition: format!("{prefix}-{name}-meta"),
        key_partition: format!("{prefix}-{name}-key"),
        key_page_cache: cache.clone(),
        value_partition: format!("{prefix}-{name}-value"),
        compression: None,
        codec_config,
        items_per_section: ARCHIVE_SECTION,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    }
}

pub(crate) fn state_config(prefix: &str, cache: &CacheRef) -> VariableConfig<EightCap, ((), ()), Sequential> {
    VariableConfig {
        merkle_config: MerkleConfig {
            journal_partition: format!("{prefix}-state-tree"),
            metadata_partition: format!("{prefix}-state-meta"),
            items_per_blob: STATE_SECTION,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
            strategy: Sequential,
            page_cache: cache.clone(),
        },
        journal_config: VarLogConfig {
            partition: format!("{prefix}-state-log"),
            items_per_section: STATE_SECTION,
            compression: None,
            codec_config: ((), ()),
            page_cache: cache.clone(),
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        },
        grafted_metadata_partition: format!("{prefix}-state-graft"),
        translator: EightCap,
        init_cache: Some(NZUsize!(1024)),
        init_buffer: NZUsize!(1 << 20),
        init_concurrency: (),
    }
}

fn marshal_config(
    params: &Params,
    cache: &CacheRef,
    start: marshal::Start<Scheme, D, Digested<Block>>,
) -> marshal::Config<Seating, FixedEpocher, Sequential, Block, Digested<Block>> {
    marshal::Config {
        provider: params.seating.clone(),
        epocher: params.seating.epocher(),
        start,
        partition_prefix: params.prefix.clone(),
        mailbox_size: MAILBOX,
        view_retention: ViewDelta::new(100),
        prunable_items_per_section: ARCHIVE_SECTION,
        page_cache: cache.clone(),
        replay_buffer: BUFFER,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        block_codec_config: params.max_body,
        max_repair: NZUsize!(16),
        max_pending_acks: NZUsize!(16),
        strategy: Sequential,
    }
}

fn backfill_config<P, B>(params: &Params, peers: P, blocker: B) -> marshal_resolver::Config<Identity, P, B>
where
    P: PeerProvider<PublicKey = Identity>,
    B: Blocker<PublicKey = Identity>,
{
    marshal_resolver::Config {
        public_key: params.me.clone(),
        peer_provider: peers,
        blocker,
        mailbox_size: MAILBOX,
        fetch_timeout: NZDuration!(Duration::from_secs(2)),
        fetch_retry_delay: Duration::from_millis(100),
        priority_requests: false,
        priority_responses: false,
    }
}

/// A lone validator has nobody to skip, and must not skip itself while it is paced.
fn skip_policy(params: &Params) -> SkipPolicy {
    if params.seats == 1 {
        SkipPolicy::Disabled
    } else {
        SkipPolicy::Enabled { timeout: params.leader_timeout * 5, budget: simplex::SkipBudget::Participants }
    }
}

/// Starts every actor of one validator.
pub(crate) async fn start_validator<E, S, R, B, P>(
    context: E,
    params: Params,
    channels: Channels<S, R>,
    blocker: B,
    peers: P,
) -> Validator<E>
where
    E: Runtime + Metrics,
    S: Sender<PublicKey = Identity>,
    R: Receiver<PublicKey = Identity>,
    B: Blocker<PublicKey = Identity>,
    P: PeerProvider<PublicKey = Identity>,
{
    let cache = CacheRef::new(NZU16!(4096 - 16), NZUsize!(1024));
    let resolver = marshal_resolver::init(
        context.child("backfill"),
        backfill_config(&params, peers.clone(), blocker.clone()),
        channels.backfill,
    );
    let (broadcast, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: params.me.clone(),
            mailbox_size: MAILBOX,
            deque_size: 10,
            priority: false,
            codec_config: params.max_body,
            peer_provider: peers,
            strategy: Sequential,
        },
    );
    broadcast.start(channels.broadcast);

    let prefix = &params.prefix;
    // Written by ourselves, by sets of any size: the bound of one set would not read another's.
    let finals = archive(prefix, "final", &cache, Scheme::certificate_codec_config_unbounded());
    let finals = prunable::Archive::init(context.child("finalizations"), finals).await;
    let finals =
        finals.unwrap_or_else(|cause| panic!("the archive of certificates cannot be opened: {cause}"));
    let blocks = archive(prefix, "blocks", &cache, params.max_body);
    let blocks = prunable::Archive::init(context.child("blocks"), blocks).await;
    let blocks = blocks.unwrap_or_else(|cause| panic!("the archive of blocks cannot be opened: {cause}"));

    let targets = <Dbs<E> as DatabaseSet<E>>::initial_sync_targets();
    let genesis = Block::genesis(params.machine.genesis_id(), &targets);
    let digest = genesis.digest();
    let plan = SyncPlan::init(context.child("plan"), prefix.clone()).await;
    let start = plan.marshal_start(Digested::precomputed(genesis.clone(), digest));
    let config = marshal_config(&params, &cache, start);
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        context.child("marshal"),
        finals,
        blocks,
        config,
    )
    .await;

    let app =
        App { machine: params.machine.clone(), genesis, max_body: params.max_body, tip: params.tip.clone() };
    let (stateful, mailbox) = Stateful::new(
        context.child("stateful"),
        StatefulConfig {
            application: app,
            db_config: state_config(prefix, &cache),
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: MAILBOX,
            plan,
            resolvers: ByteSource::<E>::silent(),
            sync_config: SyncEngineConfig {
                fetch_batch_size: NZU64!(32),
                apply_batch_size: NZU64!(64),
                max_outstanding_requests: NZUsize!(8),
            },
            prune_config: None,
            strategy: Sequential,
        },
    );
    let epocher = params.seating.epocher();
    let deferred = Deferred::new(context.child("deferred"), mailbox.clone(), marshal.clone(), epocher);
    let (boundaries, changes) = Boundaries::new(params.seating.clone());
    marshal_actor.start(Reporters::from((mailbox.clone(), boundaries)), buffer, resolver);
    stateful.start();
    let (muxes, ahead) = Muxes::start(&context, channels.vote, channels.certificate, channels.resolver);
    let database = mailbox.subscribe_databases().await;
    let orchestrator = Orchestrator {
        seating: params.seating.clone(),
        marshal: marshal.clone(),
        database: database.clone(),
        tip: params.tip.subscribe(),
        genesis: digest,
        muxes,
        launch: Launcher {
            automaton: Paced::new(context.child("pace"), deferred.clone(), params.interval.clone()),
            application: deferred,
            context: context.child("consensus"),
            blocker,
            skip: skip_policy(&params),
            timeout: params.leader_timeout,
            prefix: params.prefix.clone(),
            cache,
        },
    };
    let engine = context.child("orchestrator").spawn(|_| orchestrator.run(changes, ahead));
    Validator { database, marshal, engine }
}

/// Starts engines of consensus: all alike but for their seats, epoch and floor.
struct Launcher<E, B, P, A> {
    context: E,
    blocker: B,
    automaton: P,
    application: A,
    skip: SkipPolicy,
    timeout: Duration,
    prefix: String,
    cache: CacheRef,
}

/// The journal of an epoch's votes. Storage format: never change.
fn journal(prefix: &str, epoch: Epoch) -> String {
    if epoch == Epoch::zero() { format!("{prefix}-simplex") } else { format!("{prefix}-simplex-{epoch}") }
}

impl<E, S, B, P, A> Launch<S> for Launcher<E, B, P, A>
where
    E: Runtime + Metrics,
    S: Sender<PublicKey = Identity>,
    B: Blocker<PublicKey = Identity>,
    P: CertifiableAutomaton<Context = Ctx, Digest = D>,
    A: Relay<Digest = D, PublicKey = Identity, Plan = simplex::Plan<Identity>>
        + Reporter<Activity = Activity<Scheme, D>>,
{
    fn launch(
        &self,
        epoch: Epoch,
        scheme: Scheme,
        floor: Floor<Scheme, D>,
        channels: EpochChannels<S>,
    ) -> Handle<()> {
        let engine = simplex::Engine::new(
            self.context.child("simplex").with_attribute("epoch", epoch),
            simplex::Config {
                scheme,
                elector: RoundRobin::<Sha256>::default(),
                blocker: self.blocker.clone(),
                automaton: self.automaton.clone(),
                relay: self.application.clone(),
                reporter: self.application.clone(),
                strategy: Sequential,
                partition: journal(&self.prefix, epoch),
                mailbox_size: MAILBOX,
                epoch,
                floor,
                replay_buffer: BUFFER,
                write_buffer: BUFFER,
                page_cache: self.cache.clone(),
                leader_timeout: self.timeout,
                certification_timeout: self.timeout + self.timeout / 4,
                timeout_retry: self.timeout,
                view_retention: ViewDelta::new(100),
                skip: self.skip,
                fetch_timeout: NZDuration!(Duration::from_secs(2)),
                fetch_retry_delay: Duration::from_secs(1),
                forward: ForwardPolicy::Disabled,
                track_historical_votes: false,
            },
        );
        engine.start(channels.vote, channels.certificate, channels.resolver)
    }
}
