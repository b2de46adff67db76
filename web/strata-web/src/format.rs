//! How numbers are written for people: three significant digits, decimal units, a narrow set of words.

/// What stands where a value is not known.
pub const UNKNOWN: &str = "–";

/// A bitrate: `0 kbit/s`, `640 kbit/s`, `3.21 Mbit/s`.
#[must_use]
pub fn bitrate(bits_per_second: u64) -> String {
    if bits_per_second < 1_000_000 {
        return format!("{} kbit/s", (bits_per_second + 500) / 1_000);
    }
    format!("{} Mbit/s", three_digits(as_f64(bits_per_second) / 1e6))
}

/// An amount of bytes: `812 B`, `4.20 MB`, `1.07 TB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = as_f64(bytes) / 1e3;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A whole number in groups of three digits: `1 234 567` (narrow no-break spaces).
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds: `0.4 ms`, `43 ms`.
#[must_use]
pub fn ms(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.into();
    }
    if value < 9.95 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}

/// A share: `0 %`, `0.03 %`, `2.1 %`, `100 %`. A share that is not zero never reads as zero.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return UNKNOWN.into();
    }
    let share = as_f64(part) / as_f64(whole) * 100.0;
    match share {
        0.0 => "0 %".into(),
        share if share < 0.01 => "< 0.01 %".into(),
        share if share < 1.0 => format!("{share:.2} %"),
        share if share < 10.0 => format!("{share:.1} %"),
        share => format!("{share:.0} %"),
    }
}

/// A span of time in at most two units: `12 s`, `3 min 05 s`, `2 h 10 min`, `4 d 3 h`.
#[must_use]
pub fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min {:02} s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{} h {:02} min", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// How long ago: `just now`, `12 s ago`, `3 min ago`. The script `live.js` counts on in the same words.
#[must_use]
pub fn ago(milliseconds: i64) -> String {
    let seconds = u64::try_from(milliseconds / 1_000).unwrap_or(0);
    match seconds {
        0 => "just now".into(),
        1..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_where_people_expect_it() {
        let cases = [
            (bitrate(0), "0 kbit/s"),
            (bitrate(999_400), "999 kbit/s"),
            (bitrate(3_214_000), "3.21 Mbit/s"),
            (bitrate(42_000_000), "42.0 Mbit/s"),
            (bytes(999), "999 B"),
            (bytes(1_234), "1.23 kB"),
            (bytes(999_999), "1.00 MB"),
            (bytes(u64::MAX), "18447 PB"),
            (ms(0.42), "0.4 ms"),
            (ms(43.2), "43 ms"),
            (ms(f64::NAN), UNKNOWN),
            (span(59), "59 s"),
            (span(185), "3 min 05 s"),
            (span(7_800), "2 h 10 min"),
            (span(356_400), "4 d 3 h"),
            (ago(-5), "just now"),
            (ago(12_900), "12 s ago"),
            (ago(200_000), "3 min ago"),
        ];
        for (text, expected) in cases {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn a_loss_that_is_not_zero_never_reads_as_zero() {
        assert_eq!(percent(0, 10), "0 %");
        assert_eq!(percent(1, 1_000_000), "< 0.01 %");
        assert_eq!(percent(3, 1_000), "0.30 %");
        assert_eq!(percent(21, 1_000), "2.1 %");
        assert_eq!(percent(0, 0), UNKNOWN);
    }
}
