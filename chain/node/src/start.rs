//! From a configuration to a running node.

use cairn_engine::{Engine, SoloConfig};
use cairn_ledger::genesis::Export;
use cairn_ledger::state::{Writes, key_of, open_entry};
use cairn_ledger::tables::{Chain, ChainRow, SeatRow, Seats, SectorTable};
use cairn_types::{Epoch, Hash, Refusal, SectorId, decode, encode};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

use crate::files;
use crate::machine::Ledger;
use crate::node::{Inner, MAX_INTERVAL};
use crate::shared::{Core, Facts, MAX_BODY};
use crate::store::{Base, Store};
use crate::worker;
use crate::{NodeConfig, NodeError, SeatKeys};

/// How long a start waits for the first block of a new network.
const FIRST_BLOCK: Duration = Duration::from_secs(10);

fn store_error(cause: impl std::fmt::Display) -> NodeError {
    NodeError::Store(cause.to_string())
}

fn config_error(cause: impl Into<String>) -> NodeError {
    NodeError::Config(cause.into())
}

pub(crate) async fn start(config: NodeConfig) -> Result<Arc<Inner>, NodeError> {
    let Some(seat) = &config.seat else {
        return Err(config_error(
            "a node without a seat cannot follow a network yet; give it the secrets of a seat",
        ));
    };
    let interval = config.interval.min(MAX_INTERVAL);
    let store = Store::open(&config.dir).map_err(store_error)?;
    let facts = facts(&config, &store)?;
    check_seat(seat, &facts)?;
    let solo = SoloConfig {
        interval,
        max_body: MAX_BODY,
        ..SoloConfig::new(
            config.dir.join("engine"),
            encode(&(facts.network, facts.fork)),
            seat.identity_seed,
            seat.consensus_secret,
        )
    };
    let core = Arc::new(Core::new(facts, config.sectors, store));
    let machine = Arc::new(Ledger(core.clone()));
    let engine = tokio::task::spawn_blocking(move || cairn_engine::start(solo, machine))
        .await
        .map_err(store_error)??;
    catch_up(&core, &engine).await?;
    let inner = Arc::new(Inner {
        core,
        engine,
        seat: config.seat,
        interval: Mutex::new(interval),
        pruned: AtomicU64::new(0),
        owed: Mutex::default(),
        audits: Mutex::default(),
        stop: watch::channel(false).0,
    });
    tokio::spawn(worker::run(Arc::downgrade(&inner), inner.core.tip.subscribe()));
    let mut tip = inner.core.tip.subscribe();
    let origin = inner.core.facts.origin;
    // A network whose first block is late is usable all the same; requests say that there is no state yet.
    let _ = tokio::time::timeout(FIRST_BLOCK, tip.wait_for(|h| h.0 > origin)).await;
    Ok(inner)
}

fn check_seat(seat: &SeatKeys, facts: &Facts) -> Result<(), NodeError> {
    let row = facts.seats.get(usize::from(seat.number));
    let row = row.ok_or_else(|| config_error(format!("the network has no seat {}", seat.number)))?;
    let wrong = |what| {
        Err(config_error(format!(
            "the {what} of seat {} is not the one of the genesis; use its key files",
            seat.number
        )))
    };
    if row.key != seat.message.public() {
        return wrong("message key");
    }
    if row.vote != seat.vote.public() {
        return wrong("vote key");
    }
    if row.consensus != cairn_engine::vote_public(&seat.consensus_secret) {
        return wrong("consensus key");
    }
    if facts.seats.len() > 1 {
        return Err(config_error("networks of several seats are not part of this version"));
    }
    Ok(())
}

/// What the directory, the genesis and an import say together.
fn facts(config: &NodeConfig, store: &Store) -> Result<Facts, NodeError> {
    config.genesis.check(&config.sectors).map_err(NodeError::Genesis)?;
    let network = config.genesis.network();
    let base = store.base().map_err(store_error)?;
    let import = imported(config, base.as_ref())?;
    let digest = import.as_ref().map(Export::digest);
    let contents = import.as_ref().map(|x| x.contents.clone()).unwrap_or_default();
    let first: Writes = match import {
        Some(export) => export.import().map_err(NodeError::Genesis)?,
        None => config.genesis.rows(&config.sectors).map_err(NodeError::Genesis)?,
    };
    let rows = Rows(&first);
    let chain = rows.chain()?;
    if chain.network != network {
        return Err(config_error("the imported state is of another network than the genesis file"));
    }
    for id in &chain.sectors {
        rows.sector_known(*id, config)?;
    }
    let wanted = Base { fork: chain.fork, origin: chain.origin.0, import: digest };
    match base {
        Some(found) if found == wanted => {}
        Some(_) => {
            return Err(config_error(
                "the directory holds another fork of the network; choose a new directory for an import",
            ));
        }
        None => {
            if let Some(export) = &config.import {
                files::write(&config.dir.join("import.bin"), &encode(export)).map_err(store_error)?;
            }
            store.create(&wanted, &first, &contents, &rows.latest(&chain)).map_err(store_error)?;
        }
    }
    let genesis_id = Hash::derive("cairn/node/genesis", &[network.as_ref(), &encode(&wanted)]).0;
    Ok(Facts {
        network,
        name: config.genesis.name.clone(),
        hrp: chain.hrp.clone(),
        fork: chain.fork,
        origin: chain.origin.0,
        seats: rows.seats(&chain),
        epoch_blocks: chain.params.epoch_blocks,
        genesis: encode(&config.genesis),
        first,
        genesis_id,
    })
}

/// The state to go on from: given now, or at the first start of this directory.
fn imported(config: &NodeConfig, base: Option<&Base>) -> Result<Option<Export>, NodeError> {
    if let Some(export) = &config.import {
        return Ok(Some(export.clone()));
    }
    if base.is_none_or(|b| b.import.is_none()) {
        return Ok(None);
    }
    let bytes = files::read(&config.dir.join("import.bin")).map_err(store_error)?;
    let bytes = bytes.ok_or_else(|| store_error("import.bin is missing from the node's directory"))?;
    decode(&bytes).map(Some).map_err(store_error)
}

/// Rows of a first state.
struct Rows<'a>(&'a Writes);

impl Rows<'_> {
    fn get<T: cairn_ledger::state::Table>(&self, key: &T::Key) -> Option<T::Row> {
        let entry = self.0.get(&key_of::<T>(key))?.as_ref()?;
        open_entry::<T>(entry).map(|(_, row)| row)
    }

    fn chain(&self) -> Result<ChainRow, NodeError> {
        let missing =
            Refusal::new("genesis.invalid", "the first state has no chain row", "export the state again");
        self.get::<Chain>(&()).ok_or(NodeError::Genesis(missing))
    }

    fn seats(&self, chain: &ChainRow) -> Vec<SeatRow> {
        (0..chain.seats).filter_map(|n| self.get::<Seats>(&n)).collect()
    }

    fn latest(&self, chain: &ChainRow) -> Vec<(SectorId, Epoch, Hash)> {
        let latest =
            |id: &SectorId| self.get::<SectorTable>(id)?.latest.map(|(epoch, hash)| (*id, epoch, hash));
        chain.sectors.iter().filter_map(latest).collect()
    }

    fn sector_known(&self, id: SectorId, config: &NodeConfig) -> Result<(), NodeError> {
        let row =
            self.get::<SectorTable>(&id).ok_or_else(|| config_error(format!("sector {id} has no row")))?;
        config.sectors.get(id, row.version).map(|_| ()).map_err(NodeError::Genesis)
    }
}

/// Brings the store to where the engine is. The engine shows the last final blocks again after a crash; what it
/// does not show is fetched. Effects that nobody kept leave a gap in the events and make the mirror be read anew.
async fn catch_up(core: &Arc<Core>, engine: &Engine) -> Result<(), NodeError> {
    let reached = *engine.height().borrow();
    let applied = core.store.applied().map_err(store_error)?.0.saturating_sub(core.facts.origin);
    for height in applied.saturating_add(1)..=reached {
        match engine.block(height).await? {
            Some(stored) => core.finalize(&stored.block).map_err(store_error)?,
            None => core.stale.store(true, Ordering::Release),
        }
    }
    core.open_gate().map_err(store_error)?;
    if reached > 0
        && let Some(bytes) = engine.get(key_of::<Chain>(&())).await?
        && let Some((_, chain)) = open_entry::<Chain>(&bytes)
    {
        let block = engine.block(chain.height.0.saturating_sub(core.facts.origin)).await?;
        core.set_view(chain, block.map(|b| b.block.header.timestamp_ms).unwrap_or(0));
    }
    Ok(())
}
