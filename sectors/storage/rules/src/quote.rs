//! What orders need, and at what rates an offer serves them.

use cairn_sector::{Demand, Quote};
use cairn_types::{Credits, Refusal, Units};

use crate::admit::{epoch_of, rates};
use crate::types::{Offer, Order, Params};

/// Repair agents drawn for each lease.
pub const AGENTS: u16 = 2;

/// See [`cairn_sector::Rules::demand`].
pub fn demand(p: &Params, order: &Order) -> Result<Demand, Refusal> {
    let refuse = |cause: String, remedy| Err(Refusal::with("storage.order", cause, remedy));
    if order.k == 0 || order.k > order.n || u16::from(order.n) > p.max_slots {
        let cause = format!("k = {}, n = {}, at most {} slots", order.k, order.n, p.max_slots);
        return refuse(cause, "choose 1 <= k <= n <= the most slots");
    }
    if order.chunks_per_slot == 0 || order.chunks_per_slot > p.max_capacity_chunks {
        let cause = format!("{} chunks for each slot", order.chunks_per_slot);
        return refuse(cause, "reserve at least one chunk and at most the largest device");
    }
    let reserve = epoch_of(p, order.chunks_per_slot);
    let units = u128::from(reserve) * u128::from(order.n) * u128::from(p.escrow_epochs);
    let Some(price) = order.max_rate.charge(units) else {
        return refuse("the price overflows".into(), "lower max_rate or the reserved capacity");
    };
    Ok(Demand {
        slots: u16::from(order.n),
        max_per_domain: order.max_per_domain,
        reserve: Units::first(reserve),
        class: order.class,
        region: order.region,
        max_rate: order.max_rate,
        min_escrow: price.max(Credits(1)),
        helpers: AGENTS,
        epochs: order.epochs,
    })
}

/// See [`cairn_sector::Rules::quote`].
pub fn quote(p: &Params, offer: &Offer, order: &Order) -> Result<Quote, Refusal> {
    let refuse = |cause: String| {
        Err(Refusal::with("storage.quote", cause, "choose another offer, or change the order"))
    };
    if offer.class != order.class {
        return refuse(format!("the device is of class {}, wanted is {}", offer.class, order.class));
    }
    if order.region != 0 && order.region != offer.region {
        return refuse(format!("the device is in region {}, wanted is {}", offer.region, order.region));
    }
    if offer.at_rest > order.max_rate {
        return refuse(format!("asked {} is over the accepted {}", offer.at_rest.0, order.max_rate.0));
    }
    if order.chunks_per_slot > offer.capacity_chunks {
        return refuse(format!(
            "{} chunks are wanted, the device has {}",
            order.chunks_per_slot, offer.capacity_chunks
        ));
    }
    Ok(Quote { rates: rates(p, offer) })
}
