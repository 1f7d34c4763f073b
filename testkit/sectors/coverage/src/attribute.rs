//! Pooled sales: the memory says who covered the cells that were sold.

use cairn_sector::{EpochContext, Shares};
use cairn_types::{Cell, Credits, DeviceId, Refusal};
use std::collections::BTreeMap;

use crate::{Coverage, Grid, Params, Sale};

/// Cells of a sale, or why there are none.
fn cells(p: &Params, sale: &Sale) -> Result<(Grid, u32), Refusal> {
    let refuse = |cause: String| {
        Refusal::with(
            "coverage.sale",
            cause,
            "name a corner on the grid and at most the governed number of cells",
        )
    };
    let corner =
        Grid::of(sale.corner).ok_or_else(|| refuse(format!("corner {} is off the grid", sale.corner.0)))?;
    let n = u32::from(sale.rows) * u32::from(sale.columns);
    if n == 0 || n > p.sale_cells {
        return Err(refuse(format!("{n} cells were asked for, a sale has 1 to {}", p.sale_cells)));
    }
    Ok((corner, n))
}

/// Price of a sale: cells times the governed price.
pub fn price(p: &Params, sale: &Sale) -> Result<Credits, Refusal> {
    let (_, n) = cells(p, sale)?;
    let price = u64::from(n).checked_mul(p.cell_price.0).map(Credits);
    price.ok_or_else(|| Refusal::new("coverage.sale", "the price is over all credits", "ask for fewer cells"))
}

/// Weights by epochs of fully paid service within the memory. A cell costs one scan by prefix.
pub fn attribute(c: &EpochContext<'_, Coverage>, sale: &Sale) -> Shares {
    let Ok((corner, _)) = cells(&c.params, sale) else { return Shares::new() };
    let mut weights: BTreeMap<DeviceId, u64> = BTreeMap::new();
    for (dr, dc) in (0..u32::from(sale.rows)).flat_map(|r| (0..u32::from(sale.columns)).map(move |c| (r, c)))
    {
        let (Some(row), Some(column)) = (corner.row.checked_add(dr), corner.column.checked_add(dc)) else {
            continue;
        };
        for (device, covered) in covering(c, Grid { row, column }.cell()) {
            let weight = weights.entry(device).or_default();
            *weight = weight.saturating_add(covered);
        }
    }
    weights.into_iter().collect()
}

/// Devices of the registry that the memory knows in a cell, with their weight above zero.
fn covering(c: &EpochContext<'_, Coverage>, cell: Cell) -> Vec<(DeviceId, u64)> {
    let known = c.memory.scan(&cell.0.to_be_bytes()).filter_map(|(key, sightings)| {
        let device = DeviceId(key.get(8..)?.try_into().ok()?);
        let here = c.registry.device(&device)?;
        (sightings.full > 0).then_some((here.id, u64::from(sightings.full)))
    });
    known.collect()
}
