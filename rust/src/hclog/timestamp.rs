//! What hclog writes as `@timestamp`, as Go's parser takes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether Go parses `text` by hclog's layout `2006-01-02T15:04:05.000000Z07:00`.
///
/// Beyond the layout it takes an hour of one digit and a comma before the fraction; a day must exist
/// in its month.
#[must_use]
pub fn is_valid(text: &[u8]) -> bool {
    let Some((date, time)) = text.split_at_checked(11) else { return false };
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T'] = date else { return false };
    let (hour, rest) = match time {
        [h1, h2, b':', rest @ ..] => (two(*h1, *h2), rest),
        [h1, b':', rest @ ..] => (two(b'0', *h1), rest),
        _ => return false,
    };
    let &[n1, n2, b':', s1, s2, b'.' | b',', ref rest @ ..] = rest else { return false };
    let Some((fraction, zone)) = rest.split_at_checked(6) else { return false };
    let (Some(century), Some(year), Some(month), Some(day)) =
        (two(y1, y2), two(y3, y4), two(m1, m2), two(d1, d2))
    else {
        return false;
    };
    hour.is_some_and(|hour| hour < 24)
        && two(n1, n2).is_some_and(|minute| minute < 60)
        && two(s1, s2).is_some_and(|second| second < 60)
        && is_fraction(fraction)
        && is_zone(zone)
        && (1..=days_in(century, year, month)).contains(&day)
}

/// A point in time as hclog writes it, in UTC: `2006-01-02T15:04:05.000000Z`.
#[must_use]
pub fn format(time: SystemTime) -> [u8; 27] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (seconds, microseconds) = (since.as_secs(), since.subsec_micros());
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (end, width, number) in [
        (4, 4, year),
        (7, 2, month),
        (10, 2, day),
        (13, 2, second_of_day.div_euclid(3600)),
        (16, 2, second_of_day.div_euclid(60).rem_euclid(60)),
        (19, 2, second_of_day.rem_euclid(60)),
        (26, 6, u64::from(microseconds)),
    ] {
        let mut left = number;
        for byte in text.iter_mut().take(end).rev().take(width) {
            *byte = b'0'.saturating_add(u8::try_from(left.rem_euclid(10)).unwrap_or(0));
            left = left.div_euclid(10);
        }
    }
    text
}

fn two(first: u8, second: u8) -> Option<u8> {
    let tens = first.checked_sub(b'0').filter(|digit| *digit < 10)?;
    let ones = second.checked_sub(b'0').filter(|digit| *digit < 10)?;
    tens.checked_mul(10)?.checked_add(ones)
}

// Go reads it as an integer, which may have a sign, and refuses one below zero.
fn is_fraction(fraction: &[u8]) -> bool {
    match fraction {
        [b'-', zeros @ ..] => zeros.iter().all(|digit| *digit == b'0'),
        [b'+', digits @ ..] | digits => digits.iter().all(u8::is_ascii_digit),
    }
}

fn is_zone(zone: &[u8]) -> bool {
    match *zone {
        [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            two(h1, h2).is_some_and(|hours| hours <= 24)
                && two(m1, m2).is_some_and(|minutes| minutes <= 60)
        }
        _ => false,
    }
}

// No day exists in a month that does not.
fn days_in(century: u8, year: u8, month: u8) -> u8 {
    let leap = if year == 0 { century.is_multiple_of(4) } else { year.is_multiple_of(4) };
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

// Year, month and day of a number of days since 1970-01-01, by counting in years that begin in March:
// the leap day is then the last of its year, and 400 years always have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day.div_euclid(1460).saturating_add(day.div_euclid(146_096));
    let year = day.saturating_add(day.div_euclid(36_524)).saturating_sub(leap_days).div_euclid(365);
    let before = year
        .saturating_mul(365)
        .saturating_add(year.div_euclid(4))
        .saturating_sub(year.div_euclid(100));
    let day = day.saturating_sub(before);
    let march_month = day.saturating_mul(5).saturating_add(2).div_euclid(153);
    let day = day.saturating_sub(march_month.saturating_mul(153).saturating_add(2).div_euclid(5));
    let month = if march_month < 10 {
        march_month.saturating_add(3)
    } else {
        march_month.saturating_sub(9)
    };
    let year = year.saturating_add(era.saturating_mul(400));
    (year.saturating_add(u64::from(month <= 2)), month, day.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_at(seconds: u64, microseconds: u64) -> String {
        let time = UNIX_EPOCH.checked_add(Duration::from_micros(
            seconds.saturating_mul(1_000_000).saturating_add(microseconds),
        ));
        String::from_utf8_lossy(&format(time.unwrap_or(UNIX_EPOCH))).into_owned()
    }

    #[test]
    fn times_are_written_as_hclog_writes_them() {
        assert_eq!(text_at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text_at(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(text_at(951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(text_at(1_735_689_599, 0), "2024-12-31T23:59:59.000000Z");
        assert_eq!(text_at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut day = civil(0);
        for days in 1..146_097 {
            let next = civil(days);
            assert!(next > day, "{next:?} after {day:?}");
            assert!(is_valid(text_at(days.saturating_mul(86_400), 0).as_bytes()));
            day = next;
        }
        assert_eq!(civil(146_097), (2370, 1, 1));
    }

    #[test]
    fn what_go_takes_is_taken() {
        for text in [
            "2026-11-23T09:26:30.123456Z",
            "2026-11-23T9:26:30.123456Z",
            "2026-11-23T09:26:30,123456+02:00",
            "2024-02-29T00:00:00.000000-07:30",
            "0000-01-01T00:00:00.000000Z",
            "2026-11-23T09:26:30.+12345Z",
            "2026-11-23T09:26:30.-00000Z",
        ] {
            assert!(is_valid(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "",
            "2026-11-23T09:26:30.123Z",
            "2026-11-23T09:26:30.1234567Z",
            "2026-11-23 09:26:30.123456Z",
            "2026-11-23T09:26:30.123456z",
            "2026-11-23T09:26:30.123456",
            "2026-11-23T09:26:30.123456+0200",
            "2026-02-29T00:00:00.000000Z",
            "1900-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-01-00T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:00:60.000000Z",
            "2026-01-01T00:00:00.-00001Z",
        ] {
            assert!(!is_valid(text.as_bytes()), "{text}");
        }
    }
}
