//! Sizes and durations as people write them: a whole number and a unit.

use std::time::Duration;

/// Bytes, such as `16MiB`, `64k` or `1000`: units are powers of 1024, in any letter case.
///
/// # Errors
/// What is wrong with `text`, in one line.
pub fn size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("b", 1),
        ("k", 1 << 10),
        ("kib", 1 << 10),
        ("m", 1 << 20),
        ("mib", 1 << 20),
        ("g", 1 << 30),
        ("gib", 1 << 30),
    ];
    let bytes = quantity(text, &UNITS, "a size is 64k, 16MiB or plain bytes")?;
    bytes.try_into().map_err(|_| TOO_LARGE.into())
}

/// A duration, such as `15s`, `500ms`, `2m` or `1h`; only `0` goes without a unit.
///
/// # Errors
/// What is wrong with `text`, in one line.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    quantity(text, &UNITS, "a duration is 500ms, 15s or 2m").map(Duration::from_millis)
}

/// A [`duration`] that is not 0.
///
/// # Errors
/// What is wrong with `text`, in one line.
pub fn wait(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be more than 0".into()),
        wait => Ok(wait),
    }
}

/// The number in `text`, times the unit behind it; `help` ends the text of an error.
fn quantity(text: &str, units: &[(&str, u64)], help: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("no number; {help}"));
    }
    let unit = unit.trim_start();
    let Some(&(_, factor)) = units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)) else {
        let fault =
            if unit.is_empty() { "no unit".into() } else { format!("no such unit: {unit}") };
        return Err(format!("{fault}; {help}"));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| TOO_LARGE.into())
}

const TOO_LARGE: &str = "too large";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("0", Ok(0)),
            ("1000", Ok(1000)),
            ("1b", Ok(1)),
            ("64k", Ok(65_536)),
            ("64 KiB", Ok(65_536)),
            ("16MiB", Ok(16 << 20)),
            ("3G", Ok(3 << 30)),
            ("16777215G", Ok(16_777_215 << 30)),
            ("17179869184G", Err("too large")),
            ("99999999999999999999", Err("too large")),
            ("64kb", Err("no such unit: kb; a size is 64k, 16MiB or plain bytes")),
            ("1.5M", Err("no such unit: .5M; a size is 64k, 16MiB or plain bytes")),
            ("-1", Err("no number; a size is 64k, 16MiB or plain bytes")),
            ("", Err("no number; a size is 64k, 16MiB or plain bytes")),
        ] {
            assert_eq!(size(text), bytes.map_err(String::from), "{text:?}");
        }
    }

    #[test]
    fn durations_have_units_unless_they_are_zero() {
        for (text, millis) in [
            ("0", Ok(0)),
            ("0s", Ok(0)),
            ("500ms", Ok(500)),
            ("15s", Ok(15_000)),
            ("2m", Ok(120_000)),
            ("1 H", Ok(3_600_000)),
            ("15", Err("no unit; a duration is 500ms, 15s or 2m")),
            ("2days", Err("no such unit: days; a duration is 500ms, 15s or 2m")),
            ("s", Err("no number; a duration is 500ms, 15s or 2m")),
            ("18446744073709551615ms", Ok(u64::MAX)),
            ("18446744073709551616ms", Err("too large")),
            ("18446744073709551s", Ok(u64::MAX / 1_000 * 1_000)),
            ("18446744073709552s", Err("too large")),
            ("5124095576030h", Ok(u64::MAX / 3_600_000 * 3_600_000)),
            ("5124095576031h", Err("too large")),
            ("99999999999999999h", Err("too large")),
        ] {
            let expected = millis.map(Duration::from_millis).map_err(String::from);
            assert_eq!(duration(text), expected, "{text:?}");
            let is_zero = expected == Ok(Duration::ZERO);
            assert_eq!(
                wait(text),
                if is_zero { Err("must be more than 0".into()) } else { expected }
            );
        }
    }
}
