//! Tests of the test kit: the suite finds planted defects, the fuzz driver runs every target.

mod fuzz;
mod toy;
