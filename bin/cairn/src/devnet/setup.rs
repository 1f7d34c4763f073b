//! Brings a fresh devnet to life: operators register their devices, all in a few fast blocks.

use anyhow::{Result, bail};
use cairn_crypto::authority::Authority;
use cairn_ledger::tables::{Accounts, Operators};
use cairn_ledger::tx::{AccountTx, Action, DEVICE_PROOF_DOMAIN, Tx, device_proof};
use cairn_node::Node;
use cairn_sector::Rules;
use cairn_storage_rules::{Storage, types};
use cairn_types::{Amount, DeviceId, Hash, Height, encode};
use std::time::Duration;

use super::genesis::{AT_REST, CAPACITY, CRN, EGRESS};
use super::keys::Keys;

/// Bond of a device: 4 GiB at the devnet's 10 $ a GiB, and as much again so that one loss does not end the business.
const BOND: Amount = Amount(80 * CRN);

/// Id of an operator's first device.
pub fn device_id(keys: &Keys, i: u16) -> DeviceId {
    DeviceId::derive("cairn/device", &[keys.account(&Keys::operator(i)).as_ref(), &0u64.to_le_bytes()])
}

/// What operator `i` offers: all the same capacity, prices a little apart, a site each.
pub fn offer(keys: &Keys, i: u16) -> types::Offer {
    let site = Hash::derive("cairn/devnet/site", &[&keys.bytes(&Keys::operator(i))]);
    types::Offer {
        capacity_chunks: CAPACITY,
        at_rest: cairn_types::Rate(AT_REST.0 + u64::from(i) * 100),
        egress: EGRESS,
        uplink_kib: 1 << 20,
        class: 0,
        region: 1,
        domains: vec![site],
    }
}

/// Registers all operators unless they are there already (a devnet that was restarted).
pub async fn setup(node: &Node, keys: &Keys, operators: u16) -> Result<()> {
    let first = keys.account(&Keys::operator(1));
    if node.get::<Operators>(&first).await?.is_some() {
        return Ok(());
    }
    let status = node.status();
    let mut last = Vec::new();
    for i in 1..=operators {
        let name = Keys::operator(i);
        let (account, secret, device) =
            (keys.account(&name), keys.secret(&name), keys.secret(&Keys::device(i)));
        let nonce = node.get::<Accounts>(&account).await?.map(|a| a.nonce).unwrap_or(0);
        let proof = device.sign(DEVICE_PROOF_DOMAIN, &device_proof(&status.network, &account));
        let register = Action::Register {
            sector: Storage::ID,
            key: device.public(),
            proof,
            offer: encode(&offer(keys, i)),
            bond: BOND,
        };
        for (n, action) in [Action::Operator { info: name.clone() }, register].into_iter().enumerate() {
            let tx = AccountTx {
                network: status.network,
                fork: status.fork,
                authority: Authority::Single(secret.public()),
                nonce: nonce + u64::try_from(n).unwrap_or(0),
                valid_until: Height(status.height.0 + 10_000),
                tip: Amount(0),
                action,
            };
            let id = node.submit(Tx::by_account(tx, &secret)).await?;
            last.push((name.clone(), id));
        }
    }
    for (name, id) in last {
        match node.wait(id, Duration::from_secs(20)).await {
            Some((_, receipt, _)) => {
                if let Some((code, cause, remedy)) = receipt.refused {
                    bail!("{name} could not register: {code}: {cause}; {remedy}");
                }
            }
            None => bail!("{name} could not register within 20 s; is the disk slow?"),
        }
    }
    Ok(())
}
