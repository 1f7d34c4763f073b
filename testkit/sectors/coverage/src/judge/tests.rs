//! The walk holds one item at a time, whatever the evidence holds.

use super::stream::{Join, Placed};
use super::*;
use std::cell::Cell as Count;
use std::rc::Rc;

struct Counted {
    place: Vec<u8>,
    alive: Rc<Count<u32>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

impl Placed for Counted {
    fn place(&self) -> Vec<u8> {
        self.place.clone()
    }
}

#[test]
fn at_most_two_items_are_alive_at_once() {
    let (alive, peak) = (Rc::new(Count::new(0)), Rc::new(Count::new(0)));
    let items = (0..40_000u32).map(|i| {
        alive.set(alive.get() + 1);
        peak.set(peak.get().max(alive.get()));
        Counted { place: (i / 400).to_be_bytes().to_vec(), alive: alive.clone() }
    });
    let memory = (0..150u32).filter(|i| i % 2 == 0).map(|i| (i.to_be_bytes().to_vec(), Sightings::default()));
    let places: Vec<_> = Join::new(memory, items, |_: &Counted| Some(())).collect();
    assert!(peak.get() <= 2, "{} items were alive at once", peak.get());
    assert_eq!(alive.get(), 0);
    // 100 places with receipts, 25 that only the memory knows, each once and ascending.
    assert_eq!(places.len(), 125);
    assert!(places.windows(2).all(|w| w[0].key < w[1].key));
    assert!(places.iter().take(100).all(|p| p.receipts.len() == 400));
    assert_eq!(places.iter().filter(|p| p.memory.is_some()).count(), 75);
}

#[test]
fn sightings_fade_and_the_window_forgets() {
    let p = Params::default();
    let w = |n: u8| Witness { device: DeviceId([n; 32]), operator: cairn_types::AccountId([n; 32]) };
    let mut s = Sightings::default();
    for epoch in 0..5 {
        s = remember(&p, Epoch(epoch), &s, &[w(1), w(2)], true, true);
    }
    assert_eq!((s.covered, s.full, s.seen.len(), s.seen[0].count), (5, 5, 2, 5));
    for epoch in 5..10 {
        s = remember(&p, Epoch(epoch), &s, &[], false, false);
    }
    assert_eq!(s, Sightings::default());

    let many: Vec<Witness> = (1..=40).map(w).collect();
    let s = remember(&p, Epoch(1), &Sightings::default(), &many, true, true);
    assert_eq!(s.seen.len(), Sightings::MAX);
    assert!(s.seen.windows(2).all(|x| x[0].witness < x[1].witness));
    assert!(cairn_types::encode(&s).len() <= 1_024);
}

#[test]
fn a_neighbourhood_is_a_square_around_the_cell() {
    let at = |row, column| Grid { row, column };
    let crowd = Crowd(
        [(at(1, 1), 1), (at(3, 3), 1), (at(5, 5), 4), (at(3, 6), 8)].map(|(g, n)| (g.cell(), n)).into(),
    );
    assert_eq!(crowd.around(at(3, 3), 2), 6);
    assert_eq!(crowd.around(at(3, 3), 3), 14);
    assert_eq!(crowd.around(at(1, 1), 1), 1);
}
