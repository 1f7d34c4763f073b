//! The duties of a seat: seed, certificates, judging, vote, reveal, outcomes. Level-triggered: each round looks at
//! the final state and does what is due, so that a restart at any point goes on where the chain is.

use cairn_crypto::random::random32;
use cairn_ledger::evidence::CERTIFICATE_LIMIT;
use cairn_ledger::settle::Settled;
use cairn_ledger::state::{Key, Table, Writes};
use cairn_ledger::tables::{
    ChainRow, Devices, EpochDigests, Epochs, Leases, Phase, Postings, Sales, SectorEpochs, SectorRow,
    SectorTable,
};
use cairn_ledger::tx::{SEAT_DOMAIN, SEED_DOMAIN, SeatDuty, SeatTx, Tx, seal_vote, seed_message};
use cairn_types::{Epoch, Hash, SectorId, encode};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::SeatKeys;
use crate::judge::{Task, Trouble, judge};
use crate::node::Inner;
use crate::shared::lock;
use crate::store::Pending;

/// Epochs for which working material (bundles, postings, snapshots) is kept.
const KEEP_EPOCHS: u64 = 3;
/// Epochs behind the present one whose outcomes are still looked at.
const OUTCOME_EPOCHS: u64 = 8;
/// Packs are kept for the dispute window and this many epochs more (90 days of hours).
const PACK_EPOCHS: u64 = 2160;
/// Rows of one page when the registry is read anew.
const PAGE: usize = 4096;

/// Runs rounds until the node is gone.
pub(crate) async fn run(node: Weak<Inner>, mut tip: tokio::sync::watch::Receiver<cairn_types::Height>) {
    loop {
        let Some(inner) = node.upgrade() else { return };
        if *inner.stop.borrow() {
            return;
        }
        let outcome = round(&inner).await;
        if let Err(cause) = &outcome {
            tracing::warn!(%cause, "a duty of the seat could not be done");
        }
        *lock(&inner.core.trouble) = outcome.err();
        let mut stop = inner.stop.subscribe();
        drop(inner);
        tokio::select! {
            _ = tip.changed() => {}
            _ = stop.changed() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn round(inner: &Arc<Inner>) -> Result<(), Trouble> {
    if inner.core.stale.load(Ordering::Acquire) {
        resync(inner).await?;
    }
    let Some(chain) = inner.core.view().chain else { return Ok(()) };
    let Some(seat) = &inner.seat else { return Ok(()) };
    let mut trouble = seed(inner, seat, &chain).await.err();
    for sector in &chain.sectors {
        if let Err(cause) = sector_round(inner, seat, &chain, *sector).await {
            trouble.get_or_insert(cause);
        }
    }
    prune(inner, &chain)?;
    trouble.map_or(Ok(()), Err)
}

async fn sector_round(
    inner: &Arc<Inner>,
    seat: &SeatKeys,
    chain: &ChainRow,
    sector: SectorId,
) -> Result<(), Trouble> {
    promote(inner, sector).await?;
    if chain.epoch.0 > 0 {
        decide(inner, seat, chain, sector, chain.epoch.minus(1)).await?;
    }
    outcomes(inner, seat, chain, sector).await
}

async fn row<T: Table>(inner: &Inner, key: &T::Key) -> Result<Option<T::Row>, Trouble> {
    inner.row::<T>(key).await.map_err(|r| r.to_string())
}

/// Signs a duty and puts it into the pool; one that waits there already is fine.
async fn post(inner: &Inner, seat: &SeatKeys, duty: SeatDuty) -> Result<(), Trouble> {
    let tx =
        SeatTx { network: inner.core.facts.network, fork: inner.core.facts.fork, seat: seat.number, duty };
    let signature = seat.message.sign(SEAT_DOMAIN, &encode(&tx));
    match inner.submit(Tx::Seat(Box::new(tx), signature)).await {
        Err(r) if r.code != "pool.known" => Err(r.to_string()),
        _ => Ok(()),
    }
}

async fn seed(inner: &Inner, seat: &SeatKeys, chain: &ChainRow) -> Result<(), Trouble> {
    let Some(times) = row::<Epochs>(inner, &chain.epoch).await? else { return Ok(()) };
    if times.seed.is_some() {
        return Ok(());
    }
    let message = seed_message(&chain.network, chain.epoch, &times.previous);
    let signature = seat.vote.sign(SEED_DOMAIN, &message);
    post(inner, seat, SeatDuty::Seed { epoch: chain.epoch, signature }).await
}

/// Certificates, then judging, vote and reveal of the epoch that ended.
async fn decide(
    inner: &Arc<Inner>,
    seat: &SeatKeys,
    chain: &ChainRow,
    sector: SectorId,
    epoch: Epoch,
) -> Result<(), Trouble> {
    let Some(se) = row::<SectorEpochs>(inner, &(epoch, sector)).await? else { return Ok(()) };
    let Some(now) = row::<Epochs>(inner, &chain.epoch).await? else { return Ok(()) };
    let Some(times) = row::<Epochs>(inner, &epoch).await? else { return Ok(()) };
    if !matches!(se.phase, Phase::Open | Phase::Committed) {
        return Ok(());
    }
    let since = chain.height.0.saturating_sub(now.start.0);
    if since < chain.params.certify_blocks {
        return certify(inner, seat, epoch, sector).await;
    }
    let sealed = se.votes.iter().find(|(number, _)| *number == seat.number).map(|(_, sealed)| *sealed);
    let contents = se.contents(row::<EpochDigests>(inner, &(epoch, sector)).await?.as_ref());
    let task = Task { sector, epoch, row: se, contents, times };
    if task.times.seed.is_none() {
        return Err(format!("epoch {epoch} has no seed and will be void"));
    }
    let pending = prepare(inner, task).await?;
    let id = pending.settled.settlement.id();
    let seal = seal_vote(&id, &pending.salt, seat.number);
    match sealed {
        None => post(inner, seat, SeatDuty::Vote { epoch, sector, sealed: seal }).await,
        Some(cast) if cast == seal => {
            let settlement = Box::new(pending.settled.settlement);
            post(inner, seat, SeatDuty::Reveal { epoch, settlement, salt: pending.salt }).await
        }
        // Never a second vote: the epoch stays open and ends void.
        Some(_) => Err(format!("the vote of epoch {epoch} of sector {sector} was not cast by this store")),
    }
}

/// The settlement that this seat votes for: made once, on disk before anything is said about it.
async fn prepare(inner: &Arc<Inner>, task: Task) -> Result<Pending, Trouble> {
    if let Some(pending) = inner.core.store.pending(task.epoch, task.sector)? {
        return Ok(pending);
    }
    let (epoch, sector) = (task.epoch, task.sector);
    let settled = judged(inner, task).await?;
    let salt = Hash(*random32().map_err(|e| e.to_string())?);
    let pending = Pending { settled, salt };
    inner.core.store.put_pending(epoch, sector, &pending)?;
    Ok(pending)
}

async fn judged(inner: &Arc<Inner>, task: Task) -> Result<Settled, Trouble> {
    let core = inner.core.clone();
    let done = tokio::task::spawn_blocking(move || judge(&core, &task)).await;
    done.map_err(|e| format!("judging ended early: {e}"))?
}

/// Certifies posted bundles that are held here.
async fn certify(inner: &Inner, seat: &SeatKeys, epoch: Epoch, sector: SectorId) -> Result<(), Trouble> {
    let mut held = Vec::new();
    for (device, posting) in inner.core.store.postings(epoch, sector)? {
        let Some(posted) = posting.bundle.filter(|_| !posting.certified) else { continue };
        if inner.core.store.bundles(epoch, &device)?.contains(&posted) {
            held.push(device);
        }
    }
    for devices in held.chunks(CERTIFICATE_LIMIT) {
        post(inner, seat, SeatDuty::Certificate { epoch, sector, devices: devices.to_vec() }).await?;
    }
    Ok(())
}

/// Once a settlement is final on chain, memory and tally follow it.
async fn promote(inner: &Arc<Inner>, sector: SectorId) -> Result<(), Trouble> {
    let Some(SectorRow { latest: Some((epoch, id)), .. }) = row::<SectorTable>(inner, &sector).await? else {
        return Ok(());
    };
    if inner.core.store.promoted(sector)? == Some((epoch, id)) {
        return Ok(());
    }
    let settled = match inner.core.store.pending(epoch, sector)? {
        Some(pending) if pending.settled.settlement.id() == id => pending.settled,
        _ => {
            let known =
                (row::<SectorEpochs>(inner, &(epoch, sector)).await?, row::<Epochs>(inner, &epoch).await?);
            let (Some(se), Some(times)) = known else { return Ok(()) };
            let contents = se.contents(None);
            judged(inner, Task { sector, epoch, row: se, contents, times }).await?
        }
    };
    let own = settled.settlement.id();
    if own != id {
        return Err(format!(
            "the final settlement of epoch {epoch} of sector {sector} is {id}, this node computes {own}; compare packs"
        ));
    }
    inner.core.store.promote(&settled)
}

/// Applies what is left of the outcomes of final settlements, chunk by chunk.
async fn outcomes(inner: &Inner, seat: &SeatKeys, chain: &ChainRow, sector: SectorId) -> Result<(), Trouble> {
    for epoch in chain.epoch.0.saturating_sub(OUTCOME_EPOCHS)..chain.epoch.0 {
        let epoch = Epoch(epoch);
        let Some(done) = inner.core.store.settlement(sector, epoch)? else { continue };
        if done.outcomes.is_empty() {
            continue;
        }
        let Some(se) = row::<SectorEpochs>(inner, &(epoch, sector)).await? else { continue };
        let next = done.chunks().into_iter().find(|(from, _, _)| *from == se.applied);
        if let Some((from, outcomes, proof)) = next {
            // Epochs in order: the next one waits until this one is through.
            return post(inner, seat, SeatDuty::Outcomes { epoch, sector, from, outcomes, proof }).await;
        }
    }
    Ok(())
}

fn prune(inner: &Inner, chain: &ChainRow) -> Result<(), Trouble> {
    let end = chain.epoch.0.saturating_sub(KEEP_EPOCHS);
    if end == 0 || inner.pruned.swap(end, Ordering::AcqRel) == end {
        return Ok(());
    }
    let old = end.checked_sub(chain.params.window_epochs.saturating_add(PACK_EPOCHS));
    if let Some(old) = old {
        for sector in &chain.sectors {
            // A pack that is gone already is as good.
            let _ = std::fs::remove_file(inner.core.store.pack_path(*sector, Epoch(old)));
        }
    }
    inner.core.store.prune(Epoch(end))
}

/// Reads the registry anew while blocks go on: pages of the state, then the writes of those blocks on top.
async fn resync(inner: &Inner) -> Result<(), Trouble> {
    *lock(&inner.core.later) = Some(Vec::new());
    let mut rows: Vec<(Key, Vec<u8>)> = Vec::new();
    for table in [Devices::TAG, Leases::TAG, Sales::TAG, Postings::TAG] {
        let mut after = None;
        loop {
            let page = inner.engine.scan(table, after, PAGE).await.map_err(|e| e.to_string())?;
            after = page.last().map(|(k, _)| *k);
            let last = page.len() < PAGE;
            rows.extend(page);
            if last {
                break;
            }
        }
    }
    let mut later = lock(&inner.core.later);
    let writes: Vec<Writes> = later.take().unwrap_or_default();
    inner.core.store.resync(&rows, &writes)?;
    inner.core.stale.store(false, Ordering::Release);
    tracing::warn!(rows = rows.len(), "the registry was read anew from the state");
    Ok(())
}
