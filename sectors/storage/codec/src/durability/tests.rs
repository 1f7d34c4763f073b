use super::*;
use crate::erasure::MAX_FRAGMENTS;

fn p(k: u16, n: u16) -> Profile {
    // 80 fragments (Storj) exceed our limit and are checked through the parts below.
    Profile::new(k, n).unwrap()
}

fn assume(loss: f64, days: f64) -> Assumptions {
    Assumptions { loss, repair_years: days / 365.0, ..Assumptions::default() }
}

/// The table of the facts prints one significant digit. Accepted: within a factor of 2.
fn about(got: f64, want: f64) -> bool {
    got / want < 2.0 && want / got < 2.0
}

#[test]
fn the_table_of_the_facts_is_reproduced() {
    let rows: [(u16, u16, u16, [f64; 4]); 7] = [
        // L, T:       0.1 1d, 0.3 1d, 1.0 1d; unavailable at 0.95
        (20, 30, 40, [1e-32, 7e-27, 1e-20, 3e-17]),
        (16, 26, 36, [2e-33, 8e-28, 1e-21, 1e-18]),
        (16, 24, 32, [4e-27, 2e-22, 4e-17, 2e-14]),
        (8, 14, 20, [1e-22, 7e-19, 1e-14, 7e-13]),
        (4, 8, 12, [2e-17, 2e-14, 2e-11, 4e-10]),
        (10, 13, 14, [6e-12, 1e-9, 5e-7, 4e-4]),
        (1, 2, 3, [2e-8, 6e-7, 2e-5, 1.25e-4]),
    ];
    for (k, r, n, want) in rows {
        let got = [
            annual_loss(p(k, n), r, &assume(0.1, 1.0)),
            annual_loss(p(k, n), r, &assume(0.3, 1.0)),
            annual_loss(p(k, n), r, &assume(1.0, 1.0)),
            unavailability(p(k, n), 0.95),
        ];
        for (got, want) in got.into_iter().zip(want) {
            assert!(about(got, want), "{k}/{r}/{n}: {got:e} against {want:e}");
        }
    }
}

#[test]
fn slow_repair_and_traffic_agree_with_the_facts() {
    assert!(about(annual_loss(p(20, 40), 30, &assume(1.0, 7.0)), 2e-11));
    assert!(about(annual_loss(p(10, 14), 13, &assume(1.0, 7.0)), 1e-3));
    let traffic = |k, r, n| (repair_traffic(p(k, n), r, &assume(0.3, 1.0)) * 100.0).round() / 100.0;
    assert_eq!(
        [traffic(16, 26, 36), traffic(8, 14, 20), traffic(4, 8, 12), traffic(10, 13, 14), traffic(1, 2, 3)],
        [1.52, 1.52, 1.56, 4.62, 1.80]
    );
    assert_eq!(expansion(p(16, 36)), 2.25);
}

#[test]
fn storj_default_agrees_through_the_parts() {
    // 29/35/80 at L = 1, T = 1 d: 9e-12 a year; unavailable 2e-47.
    let q = -(-1.0f64 / 365.0).exp_m1();
    assert!(about(binomial_tail(35, q, 7) / cycle_years(80, 35, 1.0), 9e-12));
    assert!(about(binomial_tail(80, 0.05, 52), 2e-47));
}

#[test]
fn storj_published_digits_come_out() {
    let percent = |k, n| poisson_monthly_durability(k, n, 0.1) * 100.0;
    for (k, n, want, digits) in [
        (2, 4, 99.207_366_8, 1e-7),
        (4, 8, 99.858_87, 1e-5),
        (8, 16, 99.995_462_4, 1e-7),
        (16, 32, 99.999_994_6, 1e-7),
        (20, 40, 99.999_999_81, 1e-8),
    ] {
        assert!((percent(k, n) - want).abs() <= digits, "{k}/{n}: {}", percent(k, n));
    }
    let eleven = 1.0 - poisson_monthly_durability(32, 64, 0.1);
    assert!(eleven < 1e-10, "{eleven:e}");
}

#[test]
fn the_spare_rule_holds_for_every_count_that_allows_redundancy() {
    for domains in 0..=MAX_FRAGMENTS * 4 {
        let c = choose(domains, &Assumptions::default());
        let (k, n) = (c.profile.k(), c.profile.n());
        if n == 1 {
            assert!(domains <= 3, "{domains}");
            assert_eq!(c.spares, Spares::NoRedundancy);
            assert!(c.warning().unwrap().contains("no redundancy"));
            continue;
        }
        assert!(n + (domains / 6).max(2) <= domains, "{domains}: {k}/{n}");
        assert_eq!((c.spares, c.warning()), (Spares::Enough, None));
        assert!(k <= c.repair_threshold && c.repair_threshold < n, "{domains}");
        assert!(expansion(c.profile) <= 3.0, "{domains}");
        assert!(n <= 2 || n >= k + 2, "{domains}: one loss must not leave bare data");
    }
}

#[test]
fn the_loss_is_computed_and_more_domains_do_not_make_it_worse() {
    let default = Assumptions::default();
    let (mut last, mut space) = (1.0, 3.0);
    for domains in 1..=64 {
        let c = choose(domains, &default);
        let now = c.report.annual_loss;
        // A step to a wider, leaner code may cost a factor of 5; the same or more space must never do worse.
        let bound = if c.report.expansion < space { 5.0 * last } else { last };
        assert!(now > 0.0 && now <= bound, "{domains}: {now:e} after {last:e}");
        assert_eq!(now, annual_loss(c.profile, c.repair_threshold, &default));
        // Other assumptions give another figure: it is not a constant.
        assert_ne!(now, choose(domains, &assume(0.5, 1.0)).report.annual_loss, "{domains}");
        (last, space) = (now, c.report.expansion);
    }
    assert!(choose(48, &default).report.annual_loss < 1e-11);
}

#[test]
fn two_and_three_domains_may_keep_two_copies_knowingly() {
    let default = Assumptions::default();
    for domains in [2, 3] {
        let c = choose_below_spare_rule(domains, &default);
        assert_eq!((c.profile, c.repair_threshold, c.spares), (p(1, 2), 1, Spares::Short));
        assert!(c.warning().is_some());
        assert!(c.report.annual_loss < choose(domains, &default).report.annual_loss);
    }
    assert_eq!(choose_below_spare_rule(1, &default), choose(1, &default));
}

#[test]
fn one_copy_is_lost_with_its_node() {
    let want = 1.0 - (-0.3f64).exp();
    assert!((annual_loss(p(1, 1), 0, &assume(0.3, 1.0)) - want).abs() < 1e-12);
    assert_eq!(repair_traffic(p(1, 1), 0, &assume(0.3, 1.0)), 0.0);
}

#[test]
fn a_common_fault_dominates_what_independence_promises() {
    let mut a = Assumptions::default();
    let alone = annual_loss(p(16, 36), 26, &a);
    a.events.push(Event { per_year: 0.1, share: 0.5 });
    let with = annual_loss(p(16, 36), 26, &a);
    assert!(with > alone * 1e6 && with < 0.1);
    assert!((binomial_tail(36, 0.5, 0) - 1.0).abs() < 1e-12);
    assert!((binomial_tail(36, 0.5, 18) + binomial_tail(36, 0.5, 19) - 1.0).abs() < 1e-9);
}
