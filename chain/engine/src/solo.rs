//! A network of one validator: its own thread, its own runtime, no network.

use crate::{
    app::Dbs,
    block::MAX_BODY_CEILING,
    engine::{Engine, Running, Shared, Status},
    error::EngineError,
    keys,
    machine::Machine,
    seating::Seating,
    silence::{Alone, Silence},
    validator::{Channels, Params, start_validator},
};
use commonware_consensus::{marshal::Identifier, types::Height};
use commonware_cryptography::{Hasher as _, Sha256, Signer as _};
use commonware_runtime::{Runner as _, Supervisor as _, tokio as runtime};
use std::{
    any::Any,
    fs::{self, File, TryLockError},
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Version of everything that lies in the directory.
const FORMAT: &str = "cairn-engine 1 commonware 2026.10.0";
/// Longest time between two blocks.
pub(crate) const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// How to run a network of one validator.
#[derive(Clone)]
pub struct SoloConfig {
    /// Directory of the chain; created if missing. One process at a time.
    pub dir: PathBuf,
    /// Network id and fork: signed by every vote. 1 to 255 bytes.
    pub network: Vec<u8>,
    /// Seed of the validator's ed25519 identity.
    pub identity_seed: [u8; 32],
    /// 32 uniformly random bytes from which the vote key is derived.
    pub vote_secret: [u8; 32],
    /// Time between blocks; zero: as fast as possible.
    pub interval: Duration,
    /// How long a round of voting may take, 50 ms to one hour: more than it takes to build and
    /// check a full block, or no block is ever finished. After a crash in the middle of a vote
    /// the chain stands still for about this long.
    pub round_timeout: Duration,
    /// Largest block body in bytes, at most 16 MiB. May grow, never shrink, over a chain's life.
    pub max_body: usize,
    /// Threads of the engine's runtime.
    pub threads: usize,
}

impl SoloConfig {
    /// One block a second, bodies of 2 MiB, two threads.
    pub fn new(
        dir: impl Into<PathBuf>,
        network: impl Into<Vec<u8>>,
        identity_seed: [u8; 32],
        vote_secret: [u8; 32],
    ) -> Self {
        Self {
            dir: dir.into(),
            network: network.into(),
            identity_seed,
            vote_secret,
            interval: Duration::from_secs(1),
            round_timeout: Duration::from_secs(2),
            max_body: 2 * 1024 * 1024,
            threads: 2,
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        let refuse = |text: String| Err(EngineError::Config(text));
        if self.network.is_empty() || self.network.len() > 255 {
            return refuse(format!("the network id has {} bytes, 1 to 255 are allowed", self.network.len()));
        }
        if self.max_body == 0 || self.max_body > MAX_BODY_CEILING {
            return refuse(format!("max_body is {}, 1 to {MAX_BODY_CEILING} are allowed", self.max_body));
        }
        if self.interval > MAX_INTERVAL {
            return refuse(format!("the interval is {:?}, at most one hour is allowed", self.interval));
        }
        if self.round_timeout < Duration::from_millis(50) || self.round_timeout > MAX_INTERVAL {
            return refuse(format!("round_timeout is {:?}, 50 ms to 1 hour are allowed", self.round_timeout));
        }
        if self.threads == 0 || self.threads > 256 {
            return refuse(format!("threads is {}, 1 to 256 are allowed", self.threads));
        }
        Ok(())
    }
}

/// Starts a network of one validator and returns once every block that was final before is
/// applied again. Blocks the calling thread for that time (well below a second, as a rule);
/// may be called from inside another tokio runtime.
///
/// # Errors
///
/// A directory that cannot be used, is in use, or belongs to another network; a configuration out
/// of range; a fault while opening the storage.
pub fn start(config: SoloConfig, machine: Arc<dyn Machine>) -> Result<Engine, EngineError> {
    config.check()?;
    let lock = open_directory(&config, machine.as_ref())?;
    let (status_tx, status) = watch::channel(Status::Running);
    let (ready_tx, ready) = std_mpsc::sync_channel(1);
    let spawned = thread::Builder::new().name("cairn-engine".to_owned()).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(config, machine, ready_tx)));
        let end = match outcome {
            Ok(Ok(())) => Status::Stopped,
            Ok(Err(cause)) => Status::Failed(cause),
            Err(panic) => Status::Failed(panic_text(panic.as_ref())),
        };
        // Unlock before anybody is told, so that whoever waits may start again.
        drop(lock);
        status_tx.send_replace(end);
    });
    let thread =
        spawned.map_err(|cause| EngineError::Failed(format!("no thread for the engine: {cause}")))?;
    match ready.recv() {
        Ok(shared) => Ok(Engine::new(shared, status)),
        Err(_) => {
            // The thread caught its own panic, so joining cannot fail.
            let _ = thread.join();
            let end = status.borrow().clone();
            Err(end.error().unwrap_or(EngineError::Stopped))
        }
    }
}

/// Runs the validator until somebody asks it to stop or it fails.
fn run(
    config: SoloConfig,
    machine: Arc<dyn Machine>,
    ready: std_mpsc::SyncSender<Shared>,
) -> Result<(), String> {
    let runner = runtime::Runner::new(
        runtime::Config::new()
            .with_storage_directory(config.dir.join("store"))
            .with_worker_threads(config.threads),
    );
    runner.start(|context| async move {
        let identity = keys::identity_private(&config.identity_seed);
        let me = identity.public_key();
        let private = keys::vote_private(&config.vote_secret);
        let seats = keys::solo_seats(me.clone(), &private);
        let (interval_tx, interval) = watch::channel(config.interval);
        let (tip, tip_rx) = watch::channel(0);
        let params = Params {
            prefix: "solo".to_owned(),
            me: me.clone(),
            seating: Seating::new(&config.network, private, seats, None),
            seats: 1,
            machine,
            max_body: config.max_body,
            interval,
            leader_timeout: config.round_timeout,
            tip: Arc::new(tip),
        };
        let tip = params.tip.clone();
        let silence = || (Silence, Silence);
        let channels = Channels {
            vote: silence(),
            certificate: silence(),
            resolver: silence(),
            backfill: silence(),
            broadcast: silence(),
        };
        let peers = Alone::new(me);
        let validator =
            start_validator(context.child("validator"), params, channels, peers.clone(), peers).await;

        let (stop_tx, mut stop) = mpsc::channel::<()>(1);
        let running = Arc::new(Running::new(validator.database, validator.marshal.clone()));
        let applied = running.applied().await.map_err(|cause| cause.to_string())?;
        tip.send_if_modified(|tip| std::mem::replace(tip, (*tip).max(applied)) < applied);
        // Nothing that users were told may be missing when the handle is given out.
        let latest = validator.marshal.get_info(Identifier::Latest).await;
        let latest = latest.map_or(0, |(height, _): (Height, _)| height.get());
        let mut replay = tip_rx.clone();
        let replayed = replay.wait_for(|tip| *tip >= latest).await.map(|_| ());
        replayed.map_err(|_| "the replay of final blocks ended early".to_owned())?;
        let shared = Shared {
            running: Arc::downgrade(&running),
            runtime: ::tokio::runtime::Handle::current(),
            tip: tip_rx,
            interval: interval_tx,
            stop: stop_tx,
        };
        if ready.send(shared).is_err() {
            return Ok(());
        }
        ::tokio::select! {
            // Either somebody asked, or every handle is gone.
            _ = stop.recv() => Ok(()),
            ended = validator.engine => Err(match ended {
                Ok(()) => "consensus ended by itself".to_owned(),
                Err(cause) => format!("consensus ended: {cause}"),
            }),
        }
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "an unknown fault".to_owned())
}

/// Creates, locks and identifies the directory.
fn open_directory(config: &SoloConfig, machine: &dyn Machine) -> Result<File, EngineError> {
    let dir = &config.dir;
    let fail = |cause: std::io::Error| EngineError::Directory { dir: dir.clone(), cause: cause.to_string() };
    fs::create_dir_all(dir).map_err(fail)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(fail)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => EngineError::InUse { dir: dir.clone() },
        TryLockError::Error(cause) => fail(cause),
    })?;
    let wanted = identity_line(config, machine);
    let path = dir.join("CHAIN");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim_end() == wanted => Ok(lock),
        Ok(found) => {
            Err(EngineError::OtherChain { dir: dir.clone(), found: found.trim_end().to_owned(), wanted })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_new(dir, &path, &wanted).map_err(fail)?;
            Ok(lock)
        }
        Err(error) => Err(fail(error)),
    }
}

/// Format, and one hash over everything that must not change under stored votes.
fn identity_line(config: &SoloConfig, machine: &dyn Machine) -> String {
    let identity = keys::identity_public(&config.identity_seed);
    let vote = keys::vote_public(&config.vote_secret);
    // The network id has at most 255 bytes, so its length prefix makes the rest unambiguous.
    let length = config.network.len().to_be_bytes();
    let digest = Sha256::hash(&[&length, &config.network, &machine.genesis_id(), &identity, &vote]);
    format!("{FORMAT} chain {digest}")
}

fn write_new(dir: &Path, path: &Path, line: &str) -> std::io::Result<()> {
    let draft = dir.join("CHAIN.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

/// What a started engine keeps: instantiated here once, for the real runtime.
pub(crate) type RealDbs = Dbs<runtime::Context>;
