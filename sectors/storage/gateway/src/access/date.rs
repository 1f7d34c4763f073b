//! Dates of policies and logs: Unix seconds to text and back (proleptic Gregorian calendar, UTC).
//!
//! Source of the conversion: H. Hinnant, "chrono-compatible low-level date algorithms".

/// Year, month 1..=12, day 1..=31.
pub type Civil = (u64, u64, u64);

/// The day of a count of days since 1970-01-01.
pub const fn civil(days: u64) -> Civil {
    let z = days.saturating_add(719_468);
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe.saturating_add(era.saturating_mul(400));
    (if month <= 2 { year.saturating_add(1) } else { year }, month, day)
}

/// Days since 1970-01-01; `None` before it, and for a day that does not exist.
fn days((year, month, day): Civil) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y / 400, y % 400);
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = (era * 146_097 + doe).checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

/// `YYYY-MM-DD`, with `THH:MM`, `:SS` and `.fff` as far as given, and `Z` or an offset; UTC without. Unix seconds
/// from 1970 on.
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let mut part = |len: usize| digits(parts.next()?, len);
    let day = days((part(4)?, part(2)?, part(2)?))?;
    if parts.next().is_some() {
        return None;
    }
    let midnight = day.checked_mul(86_400)?;
    let Some(time) = time else { return Some(midnight) };
    let (time, ahead, offset) = zone(time)?;
    let mut parts = time.split(':');
    let hours = digits(parts.next()?, 2).filter(|h| *h < 24)?;
    let minutes = digits(parts.next()?, 2).filter(|m| *m < 60)?;
    let seconds = match parts.next() {
        None => 0,
        Some(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            fraction.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
            digits(whole, 2).filter(|s| *s <= 60)?
        }
    };
    if parts.next().is_some() {
        return None;
    }
    let local = midnight + hours * 3600 + minutes * 60 + seconds;
    if ahead { local.checked_sub(offset) } else { local.checked_add(offset) }
}

/// A time without its zone, whether that is ahead of UTC, and by how many seconds.
fn zone(time: &str) -> Option<(&str, bool, u64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, true, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, true, 0)) };
    let offset = &time[at + 1..];
    let (hours, minutes) = offset.split_once(':').or_else(|| offset.split_at_checked(2))?;
    let seconds = digits(hours, 2)?.checked_mul(3600)? + digits(minutes, 2)? * 60;
    Some((&time[..at], time.as_bytes()[at] == b'+', seconds))
}

fn digits(text: &str, len: usize) -> Option<u64> {
    let good = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

/// `2026-11-20T19:35:58Z`.
pub fn iso(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// `20261120T193558Z`, as signatures write it.
pub fn basic(seconds: u64) -> String {
    iso(seconds).replace(['-', ':'], "")
}

/// `20/Nov/2026:19:35:58 +0000`, as access logs write it.
pub fn logged(seconds: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = civil(seconds / 86_400);
    let name = usize::try_from(month).ok().and_then(|m| MONTHS.get(m.wrapping_sub(1))).unwrap_or(&"-");
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{day:02}/{name}/{year:04}:{h:02}:{m:02}:{s:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_as_people_write_them() {
        assert_eq!(parse("1970-01-01"), Some(0));
        assert_eq!(parse("2013-05-24T00:00:00Z"), Some(1_369_353_600));
        assert_eq!(parse("2013-05-24T02:00:00+02:00"), Some(1_369_353_600));
        assert_eq!(parse("2013-05-23T22:30:00.123-0130"), Some(1_369_353_600));
        assert_eq!(parse("2000-02-29T01:01"), Some(951_782_400 + 3660));
        for text in [
            "",
            "2013-02-29",
            "2013-5-24",
            "2013-05-24T24:00Z",
            "1969-12-31",
            "2013-05-24T1:00Z",
            "x",
            "2013-05-24T00:00+é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_as_logs_and_signatures_write_them() {
        assert_eq!(logged(1_369_353_600), "24/May/2013:00:00:00 +0000");
        assert_eq!(basic(1_369_353_600), "20130524T000000Z");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0u64..253_402_300_800) {
            prop_assert_eq!(parse(&iso(seconds)), Some(seconds));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
