//! Records of peers, and what newcomers ask a node for.

use crate::net::{LINK, Net, id, key};
use cairn_ledger::genesis::Genesis;
use cairn_types::{Amount, Credits, SectorId, decode, encode};

fn record(n: u8, issued: u64) -> Vec<u8> {
    encode(&(key(n).public(), issued, u64::MAX))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_registered_devices_are_found_and_records_must_verify() {
    let net = Net::start(None).await;
    let refused = async |bytes: Vec<u8>| net.client.announce(bytes).await.unwrap_err().code;
    // Nothing is registered on this network: there is no sector.
    assert_eq!(refused(record(1, 1)).await, "peer.device");
    assert_eq!(refused(b"no record".to_vec()).await, "peer.malformed");
    assert_eq!(refused(vec![0; 5000]).await, "api.size");
    assert_eq!(net.client.peer(&key(1).public()).await.unwrap(), None);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_a_customers_once_its_account_has_credits() {
    let net = Net::start(None).await;
    let customer = key(2).public();
    assert_eq!(net.client.role_of(&customer).await.unwrap(), None);
    net.rich().buy_credits(id(2), Credits(7), Amount(u128::MAX)).await.unwrap();
    assert_eq!(net.client.role_of(&customer).await.unwrap().as_deref(), Some("customer"));
    let market = net.client.market(SectorId(1)).await.unwrap();
    assert_eq!((market.devices, market.domains, market.median_rate), (0, 0, None));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_fetches_the_genesis_and_checks_it_against_the_network_id() {
    let net = Net::start(None).await;
    let file = net.client.genesis_file().await.unwrap();
    let genesis: Genesis = decode(&file).unwrap();
    assert_eq!(genesis.network().to_string(), net.client.status().await.unwrap().network);
    assert_eq!(genesis.name, net.client.status().await.unwrap().name);
    assert_eq!(net.client.join_link().await.unwrap().as_deref(), Some(LINK));

    net.stop().await;
}
