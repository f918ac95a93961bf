//! Numbers as people read them: three digits and a unit, whatever the number.

use std::{borrow::Cow, time::Duration};

/// What stands for a number that is none, or is not known.
pub const NOTHING: &str = "\u{2013}";

/// Bytes per second: `812 B/s`, `1.53 kB/s`.
#[must_use]
pub fn rate(bytes_per_second: f64) -> String {
    scaled(bytes_per_second, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])
}

/// Bytes: `812 B`, `1.53 kB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    scaled(bytes, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// How many: exact below 10,000, then `12.3k`.
#[must_use]
pub fn count(count: u64) -> String {
    if count < 10_000 {
        count.to_string()
    } else {
        scaled(count as f64, &["", "k", "M", "G", "T", "P", "E"]).replace(' ', "")
    }
}

/// How many a second, without a unit: `0`, `29.9`, `12.3k`.
#[must_use]
pub fn per_second(count: f64) -> String {
    scaled(count, &["", "k", "M", "G", "T"]).replace(' ', "")
}

/// A share between 0 and 1: `0 %`, `2.1 %`, `47 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return NOTHING.to_owned();
    }
    let percent = share * 100.0;
    if percent == 0.0 || percent.abs() >= 9.95 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// A time in milliseconds: `0 ms`, `0.31 ms`, `42 ms`; from ten seconds on in seconds.
#[must_use]
pub fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        _ if time.is_zero() => "0 ms".to_owned(),
        _ if ms < 0.995 => format!("{ms:.2} ms"),
        _ if ms < 9.95 => format!("{ms:.1} ms"),
        _ if ms < 10_000.0 => format!("{ms:.0} ms"),
        _ => scaled(ms / 1e3, &["s", "ks", "Ms", "Gs", "Ts", "Ps", "Es"]),
    }
}

/// So many characters of a text, the last one a sign that there are more.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(most.saturating_sub(1)).collect();
            Cow::Owned(kept + "\u{2026}")
        }
    }
}

/// Three digits and the unit that fits.
fn scaled(value: f64, units: &[&str]) -> String {
    if !value.is_finite() || value < 0.0 {
        return NOTHING.to_owned();
    }
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let mut whole = true;
    // What would be rounded to 1000 is 1.00 of the next unit.
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1e3;
        unit = next;
        whole = false;
    }
    let digits = match value {
        _ if value >= 1e6 => return format!("{value:.0e} {unit}"),
        _ if value == 0.0 || value >= 99.95 => 0,
        _ if whole || value >= 9.995 => 1,
        _ => 2,
    };
    // A whole number of bytes is no fraction.
    let digits = if whole && value.fract() == 0.0 {
        0
    } else {
        digits
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0 B/s"),
            (7.0, "7 B/s"),
            (999.4, "999 B/s"),
            (999.6, "1.00 kB/s"),
            (1_530.0, "1.53 kB/s"),
            (15_320.0, "15.3 kB/s"),
            (999_600.0, "1.00 MB/s"),
            (153_200_000.0, "153 MB/s"),
        ];
        for (value, want) in cases {
            assert_eq!(rate(value), want, "{value}");
        }
    }

    #[test]
    fn a_count_is_exact_while_it_is_short() {
        assert_eq!(count(0), "0");
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(12_345), "12.3k");
        assert_eq!(count(4_560_000), "4.56M");
        assert_eq!(count(u64::MAX), "18.4E");
        assert_eq!(per_second(29.94), "29.9");
        assert_eq!(per_second(30.0), "30");
    }

    #[test]
    fn shares_and_times_are_short() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.021), "2.1 %");
        assert_eq!(percent(0.47), "47 %");
        assert_eq!(milliseconds(Duration::ZERO), "0 ms");
        assert_eq!(milliseconds(Duration::from_micros(312)), "0.31 ms");
        assert_eq!(milliseconds(Duration::from_micros(4_240)), "4.2 ms");
        assert_eq!(milliseconds(Duration::from_millis(81)), "81 ms");
        assert_eq!(milliseconds(Duration::from_secs(75)), "75 s");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("\u{fc}ber", 4), "\u{fc}ber");
        assert_eq!(cut("\u{fc}\u{fc}ber", 4), "\u{fc}\u{fc}b\u{2026}");
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("a", 0), "\u{2026}");
    }

    #[test]
    fn what_is_no_number_has_a_sign_of_its_own() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            assert_eq!(rate(value), "\u{2013}");
            assert_eq!(per_second(value), "\u{2013}");
        }
        assert_eq!(percent(f64::NAN), "\u{2013}");
    }

    #[test]
    fn nothing_is_too_large_to_be_short() {
        for value in [f64::MAX, 1e300, u64::MAX as f64] {
            assert!(rate(value).len() <= 12, "{}", rate(value));
            assert!(bytes(value).len() <= 12, "{}", bytes(value));
        }
        assert!(milliseconds(Duration::MAX).len() <= 12);
    }
}
