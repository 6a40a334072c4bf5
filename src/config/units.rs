//! Text to numbers: durations, sizes, integers, fractions and booleans, exactly and without overflow.
//!
//! Errors are half sentences ("needs a unit …") that the caller completes with the option's name. They
//! never repeat the text that was given, except for a unit made of letters.

use std::time::Duration;

use super::nearest::nearest;

const DURATION_UNITS: [(&str, u128); 5] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZE_UNITS: [(&str, u128); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A duration: `250ms`, `1.5s`, `5m`, `2h`, `1d`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let nanos = scaled(text, "s", &DURATION_UNITS)?;
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| "is too large".to_owned())?;
    Ok(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// A size in bytes: `65536`, `64KiB`, `1.5MiB`, `64MB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    u64::try_from(scaled(text, "B", &SIZE_UNITS)?).map_err(|_| "is too large".to_owned())
}

/// A whole number.
pub(super) fn integer(text: &str) -> Result<u64, String> {
    if text.starts_with('-') {
        return Err("can't be negative".into());
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("must be a whole number".into());
    }
    text.parse().map_err(|_| "is too large".into())
}

/// A share of one, as `0.8`.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    if text.starts_with('-') {
        return Err("can't be negative".into());
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(share) if plain && share <= 1.0 => Ok(share),
        Ok(_) if plain => Err("must be at most 1".into()),
        _ => Err("must be a fraction such as `0.8`".into()),
    }
}

/// A boolean.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("must be `true` or `false` (or yes/no, on/off, 1/0)".into()),
    }
}

/// A decimal number with an optional unit, in multiples of the smallest unit, rounded down.
fn scaled(text: &str, bare: &str, units: &[(&str, u128)]) -> Result<u128, String> {
    if text.starts_with('-') {
        return Err("can't be negative".into());
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        let example = if bare == "s" { "`250ms` or `30s`" } else { "`65536` or `64MiB`" };
        return Err(format!("must be a number with a unit, such as {example}"));
    }
    let wanted = if unit.is_empty() { bare } else { unit };
    let Some(&(_, scale)) = units.iter().find(|(name, _)| *name == wanted) else {
        return Err(unknown_unit(unit, units));
    };
    let too_large = || "is too large".to_owned();
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    // Past 18 digits a fraction is less than the smallest unit of any scale here.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = fraction.parse::<u128>().map_err(|_| too_large())? * scale
        / 10u128.pow(fraction.len() as u32);
    whole.checked_mul(scale).and_then(|n| n.checked_add(part)).ok_or_else(too_large)
}

fn unknown_unit(unit: &str, units: &[(&str, u128)]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let all = names.join(", ");
    if unit.len() <= 12 && unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        let near = nearest(unit, names.iter().copied()).unwrap_or(names[0]);
        format!("has the unknown unit `{unit}`; the nearest is `{near}`, the units are {all}")
    } else {
        format!("has an unknown unit; the units are {all}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("30s", 30_000_000_000),
            ("30", 30_000_000_000),
            ("0.25", 250_000_000),
            ("1.5m", 90_000_000_000),
            ("2h", 7_200_000_000_000),
            ("1d", 86_400_000_000_000),
            ("0.000001ms", 1),
            ("0.0000000000000000000000000001s", 0),
        ] {
            assert_eq!(duration(text).map(|d| d.as_nanos()), Ok(nanos), "{text}");
        }
        for text in
            ["", "s", ".5s", "5.s", "1.2.3s", "1e3s", "+1s", "-1s", "1 s", "1h30m", "1us", "٣s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration(&format!("{}d", u128::MAX)), Err("is too large".into()));
        assert_eq!(duration(&"9".repeat(1000)), Err("is too large".into()));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("65536", 65536),
            ("12B", 12),
            ("64MiB", 64 << 20),
            ("64MB", 64_000_000),
            ("1.5KiB", 1536),
            ("0.1KiB", 102),
            ("3GiB", 3 << 30),
            ("2TB", 2_000_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "64mib", "64M", "64 MiB", "-1", "0x10", "17000000TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_shares_and_flags() {
        assert_eq!(integer("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "18446744073709551616", "-1", "+1", "1.0", " 1"] {
            assert!(integer(text).is_err(), "{text}");
        }
        assert_eq!(fraction("0.8"), Ok(0.8));
        for text in ["", "-0.1", "1.1", "nan", "inf", "1e-1", "80%", "."] {
            assert!(fraction(text).is_err(), "{text}");
        }
        assert_eq!(["true", "YES", "on", "1"].map(boolean), [const { Ok(true) }; 4]);
        assert_eq!(["False", "no", "off", "0"].map(boolean), [const { Ok(false) }; 4]);
        assert!(boolean("2").is_err());
    }
}
