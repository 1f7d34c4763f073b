//! Random sequences of every action: invariants after every block, builder and checker agree (both in `Net::block`).

use crate::net::*;
use crate::toy::{Evidence, Offer, Order, Toy};
use cairn_ledger::tables::*;
use cairn_ledger::tx::*;
use cairn_sector::Rules;
use cairn_types::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Transfer(u64, u64, u128),
    Buy(u64, u64),
    Device(u64, u64, u64, u64),
    Change(u64, usize, u64),
    AddBond(u64, usize, u128),
    Exit(u64, usize),
    Withdraw(u64, usize),
    Order(u64, u16, u64, u64),
    Fund(u64, usize, u64),
    Endow(u64, usize, u64),
    Close(u64, usize),
    Dispute(u64, usize, u8),
    Pool(u64, u128),
    Sale(u64, u64),
    Legal(u64, usize),
    Epoch(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0u64..6;
    prop_oneof![
        (who.clone(), 0u64..8, 0..CRN * 2_000_000).prop_map(|(a, b, c)| Step::Transfer(a, b, c)),
        (who.clone(), 0u64..10_000_000).prop_map(|(a, b)| Step::Buy(a, b)),
        (who.clone(), 0u64..2000, 0u64..10_000_000_000, 0u64..5)
            .prop_map(|(a, b, c, d)| Step::Device(a, b, c, d)),
        (who.clone(), 0usize..8, 0u64..2000).prop_map(|(a, b, c)| Step::Change(a, b, c)),
        (who.clone(), 0usize..8, 0..CRN).prop_map(|(a, b, c)| Step::AddBond(a, b, c)),
        (who.clone(), 0usize..8).prop_map(|(a, b)| Step::Exit(a, b)),
        (who.clone(), 0usize..8).prop_map(|(a, b)| Step::Withdraw(a, b)),
        (who.clone(), 0u16..4, 0u64..300, 0u64..100_000).prop_map(|(a, b, c, d)| Step::Order(a, b, c, d)),
        (who.clone(), 0usize..8, 0u64..1000).prop_map(|(a, b, c)| Step::Fund(a, b, c)),
        (who.clone(), 0usize..8, 0u64..1000).prop_map(|(a, b, c)| Step::Endow(a, b, c)),
        (who.clone(), 0usize..8).prop_map(|(a, b)| Step::Close(a, b)),
        (who.clone(), 0usize..8, 0u8..3).prop_map(|(a, b, c)| Step::Dispute(a, b, c)),
        (who.clone(), 0..CRN).prop_map(|(a, b)| Step::Pool(a, b)),
        (who.clone(), 0u64..1000).prop_map(|(a, b)| Step::Sale(a, b)),
        (who, 0usize..8).prop_map(|(a, b)| Step::Legal(a, b)),
        proptest::collection::vec(0u8..5, 8).prop_map(Step::Epoch),
    ]
}

struct World {
    net: Net,
    devices: Vec<(DeviceId, u64)>,
    leases: Vec<LeaseId>,
}

impl World {
    fn pick<T: Copy>(list: &[T], i: usize) -> Option<T> {
        (!list.is_empty()).then(|| list[i % list.len()])
    }

    fn run(&mut self, step: Step) {
        let device = |w: &Self, i| Self::pick(&w.devices, i).map(|d| d.0).unwrap_or_default();
        let lease = |w: &Self, i| Self::pick(&w.leases, i).unwrap_or_default();
        let _ = match step {
            Step::Transfer(a, b, c) => {
                self.net.act(a, Action::Transfer { to: account(b), amount: Amount(c) }).map(|_| ())
            }
            Step::Buy(a, b) => self
                .net
                .act(
                    a,
                    Action::BuyCredits {
                        account: account(a),
                        credits: Credits(b),
                        max_cost: Amount(u128::MAX),
                    },
                )
                .map(|_| ()),
            Step::Device(a, capacity, rate, domain) => {
                let offer = encode(&Offer { capacity, rate, bond: 1_000_000, domain, unique: 0 });
                self.net.device(a, offer, Amount(3 * CRN)).map(|d| self.devices.push((d, a)))
            }
            Step::Change(a, d, capacity) => {
                let offer =
                    encode(&Offer { capacity, rate: capacity, bond: 1_000_000, domain: 1, unique: 0 });
                let action = Action::Change {
                    device: device(self, d),
                    offer: Some(offer),
                    key: None,
                    rest: Some(capacity % 3 == 0),
                };
                self.net.act(a, action).map(|_| ())
            }
            Step::AddBond(a, d, x) => {
                self.net.act(a, Action::AddBond { device: device(self, d), amount: Amount(x) }).map(|_| ())
            }
            Step::Exit(a, d) => self.net.act(a, Action::Exit { device: device(self, d) }).map(|_| ()),
            Step::Withdraw(a, d) => {
                self.net.act(a, Action::WithdrawBond { device: device(self, d) }).map(|_| ())
            }
            Step::Order(a, slots, reserve, escrow) => {
                let order = encode(&Order {
                    slots,
                    reserve,
                    max_rate: u64::MAX,
                    max_per_domain: 2,
                    helpers: 2,
                    region: 0,
                    epochs: 0,
                });
                self.net.order(a, order, escrow).map(|l| self.leases.push(l))
            }
            Step::Endow(a, l, x) => {
                self.net.act(a, Action::Endow { lease: lease(self, l), credits: Credits(x) }).map(|_| ())
            }
            Step::Fund(a, l, x) => {
                self.net.act(a, Action::Fund { lease: lease(self, l), credits: Credits(x) }).map(|_| ())
            }
            Step::Close(a, l) => self.net.act(a, Action::Close { lease: lease(self, l) }).map(|_| ()),
            Step::Dispute(a, d, claim) => self
                .net
                .act(a, Action::Dispute { device: device(self, d), lease: None, claim: vec![claim] })
                .map(|_| ()),
            Step::Pool(a, x) => {
                self.net.act(a, Action::FundPool { sector: Toy::ID, amount: Amount(x) }).map(|_| ())
            }
            Step::Sale(a, x) => self
                .net
                .act(a, Action::Buy { sector: Toy::ID, sale: encode(&x), max_credits: Credits(u64::MAX) })
                .map(|_| ()),
            Step::Legal(a, l) => self
                .net
                .act(a, Action::LegalNotice { lease: lease(self, l), slot: 0, notice: Hash::default() })
                .map(|_| ()),
            Step::Epoch(kinds) => {
                self.epoch(&kinds);
                Ok(())
            }
        };
    }

    fn epoch(&mut self, kinds: &[u8]) {
        self.net.next_epoch();
        let items = |k: u8, i: usize| match k {
            0 => vec![Evidence::Worked],
            1 => vec![Evidence::Lost],
            2 => vec![Evidence::Cheated { severity_ppm: 300_000 }],
            3 => vec![Evidence::Worked, Evidence::Relayed { units: i as u64 + 1 }],
            _ => vec![],
        };
        let work: Vec<_> = self
            .devices
            .iter()
            .enumerate()
            .filter(|(_, d)| self.net.get::<Devices>(&d.0).is_some())
            .map(|(i, (d, n))| (*d, *n, items(kinds[i % kinds.len()], i).iter().map(encode).collect()))
            .collect();
        self.net.epoch(&work);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn invariants_hold_whatever_is_asked(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World { net: Net::new(6), devices: vec![], leases: vec![] };
        world.net.next_epoch();
        for step in steps {
            world.run(step);
        }
    }
}
