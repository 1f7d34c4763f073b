use crate::net::*;
use crate::toy::{offer, order};
use cairn_ledger::tables::*;
use cairn_ledger::tx::*;
use cairn_types::*;

#[test]
fn a_transfer_moves_money_and_burns_the_fee() {
    let mut net = Net::new(2);
    let r = net.act(0, Action::Transfer { to: account(1), amount: Amount(5) }).unwrap();
    assert!(r.fee.0 > 0);
    assert_eq!(net.money().burned, r.fee);
    assert_eq!(net.get::<Accounts>(&account(1)).unwrap().balance.0, 1_000_000 * CRN + 5);
}

#[test]
fn a_refused_action_costs_fee_and_nonce_and_nothing_else() {
    let mut net = Net::new(2);
    let code = net.act(0, Action::Transfer { to: account(1), amount: Amount(u128::MAX) }).unwrap_err();
    assert_eq!(code, "bank.insufficient");
    let a = net.get::<Accounts>(&account(0)).unwrap();
    assert_eq!(a.nonce, 1);
    assert_eq!(a.balance.0 + net.money().burned.0, 1_000_000 * CRN);
}

#[test]
fn replays_other_networks_forks_and_expired_transactions_are_refused() {
    let mut net = Net::new(2);
    let tx = net.tx(0, Action::Transfer { to: account(1), amount: Amount(5) });
    net.one(tx.clone()).unwrap();
    assert_eq!(net.one(tx).unwrap_err(), "tx.nonce");
    let Tx::Account(t, _) = net.tx(0, Action::Transfer { to: account(1), amount: Amount(5) }) else {
        unreachable!()
    };
    let mut other = (*t).clone();
    other.fork = 1;
    assert_eq!(net.one(Tx::by_account(other, &key(0))).unwrap_err(), "stateless");
    let mut late = (*t).clone();
    late.valid_until = Height(1);
    assert_eq!(net.one(Tx::by_account(late, &key(0))).unwrap_err(), "tx.expired");
    let mut forged = (*t).clone();
    forged.tip = Amount(1);
    let Tx::Account(_, signatures) = Tx::by_account((*t).clone(), &key(0)) else { unreachable!() };
    assert_eq!(net.one(Tx::Account(Box::new(forged), signatures)).unwrap_err(), "stateless");
}

#[test]
fn many_transactions_of_one_account_fit_one_block_in_nonce_order() {
    let mut net = Net::new(2);
    let tx = |net: &Net, n| net.tx_at(0, n, Action::Transfer { to: account(1), amount: Amount(1) });
    let txs = vec![tx(&net, 0), tx(&net, 1), tx(&net, 3), tx(&net, 2)];
    let receipts = net.block(txs);
    assert_eq!(receipts.len(), 3, "nonce 3 came before 2 and was left out");
}

#[test]
fn credits_cost_their_price_rounded_up_and_are_not_sold_above_the_limit() {
    let mut net = Net::new(2);
    let buy = |max| Action::BuyCredits { account: account(1), credits: Credits(7), max_cost: Amount(max) };
    assert_eq!(net.act(0, buy(6_999)).unwrap_err(), "credits.price");
    net.act(0, buy(7_000)).unwrap();
    assert_eq!(net.get::<Accounts>(&account(1)).unwrap().credits, Credits(7));
    assert_eq!(net.money().vault, Amount(7_000));
}

#[test]
fn a_device_needs_bond_agreement_and_unique_hardware() {
    let mut net = Net::new(3);
    assert_eq!(net.device(1, offer(10, 1, 1), Amount(1)).unwrap_err(), "device.bond");
    let unique = encode(&crate::toy::Offer { capacity: 10, rate: 1, bond: 0, domain: 0, unique: 5 });
    net.device(1, unique.clone(), Amount(CRN)).unwrap();
    assert_eq!(net.device(2, unique, Amount(CRN)).unwrap_err(), "device.duplicate");
    let proof = key(2).sign(DEVICE_PROOF_DOMAIN, b"something else");
    let foreign = Action::Register {
        sector: SectorId(77),
        key: key(1).public(),
        proof,
        offer: offer(10, 1, 1),
        bond: Amount(10 * CRN),
    };
    assert_eq!(net.act(2, foreign).unwrap_err(), "device.agreement");
}

#[test]
fn a_slot_out_of_range_in_a_legal_notice_is_refused() {
    let mut net = Net::new(4);
    net.device(1, offer(10, 1, 1), Amount(10 * CRN)).unwrap();
    net.act(2, Action::BuyCredits { account: account(2), credits: Credits(10), max_cost: Amount(CRN) })
        .unwrap();
    let lease = net.order(2, order(1, 1), 5).unwrap();
    let code = net.act(1, Action::LegalNotice { lease, slot: 9, notice: Hash::default() }).unwrap_err();
    assert_eq!(code, "device.unknown");
}

#[test]
fn a_genesis_that_could_not_work_is_refused() {
    let sectors = cairn_sector::Sectors::new().with::<crate::toy::Toy>();
    let cause = |change: &dyn Fn(&mut cairn_ledger::genesis::Genesis)| {
        let mut g = genesis(2);
        change(&mut g);
        let refusal = g.check(&sectors).unwrap_err();
        assert_eq!(refusal.code, "genesis.invalid");
        refusal.cause.into_owned()
    };
    for prefix in ["Cairn", "c\u{e4}irn", "ca irn", ""] {
        assert!(cause(&|g| g.hrp = prefix.into()).contains("prefix"), "{prefix:?}");
    }
    // A sector's row holds its parameters, and so does the row of each of its epochs.
    assert!(cause(&|g| g.sectors[0].params = vec![0; 33 << 10]).contains("parameters"));
    assert!(genesis(2).check(&sectors).is_ok());
}
