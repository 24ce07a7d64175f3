//! Values with a notation of their own: durations, amounts of money, paths; and where a character of
//! a decoded string stands in the file.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// The longest duration: a day.
const DAY: u64 = 86_400;
/// The largest integer that canonical JSON holds.
const LARGEST: u64 = (1 << 53) - 1;

/// A duration in hours, minutes and seconds: `1h30m`, `15m`, `90s`.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct DurationText(pub String);

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
            "examples": ["15m", "90s", "1h30m"]
        })
    }
}

/// A moment as RFC 3339 writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct TimeText(pub String);

impl JsonSchema for TimeText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "examples": ["2026-12-01T00:00:00Z"]
        })
    }
}

/// An amount in US dollars. Its value is taken from the number's text, never from a float.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dollars;

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for Dollars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Dollars".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "maximum": 9_007_199_254_u64, "examples": [1.5]})
    }
}

/// Reads `1h30m`, `15m` or `90s`: hours, minutes and seconds in that order, each at most once.
pub fn duration(text: &str) -> Result<Duration, String> {
    let shown = shown(text);
    let how = "write hours, minutes and seconds such as `1h30m`, `15m` or `90s`";
    let wrong = || format!("`{shown}` is not a duration; {how}");
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{shown}` has no unit; write `{shown}s`, `{shown}m` or `{shown}h`"));
    }
    let mut rest = text;
    let mut seconds = 0_u64;
    for (unit, worth) in [('h', 3600), ('m', 60), ('s', 1)] {
        let Some((number, after)) = rest.split_once(unit) else {
            continue;
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        // Digits that overflow are more than a day, too.
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        seconds = seconds.saturating_add(number.saturating_mul(worth));
        rest = after;
    }
    if !rest.is_empty() || text.is_empty() {
        return Err(wrong());
    }
    match seconds {
        0 => Err(format!("`{shown}` is no time at all; {how}")),
        seconds if seconds > DAY => Err(format!("`{shown}` is more than a day, the most there is")),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// Reads a decimal number of dollars as millionths of a dollar, exactly.
pub(super) fn micro_usd(text: &str) -> Result<u64, String> {
    let number = shown(text);
    let text: String = text.chars().filter(|c| *c != '_').collect();
    let wrong = || format!("`{number}` is not an amount of dollars; write a number such as `1.50`");
    let too_large = || format!("`{number}` is more than can be counted; write a smaller amount");
    if text.starts_with('-') {
        return Err(format!("`{number}` is negative; write 0 or more"));
    }
    let text = text.strip_prefix('+').unwrap_or(&text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
        None => (text, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) {
        return Err(wrong());
    }
    let all = format!("{whole}{decimals}");
    let all = all.trim_start_matches('0');
    let significant = all.trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let zeros = length(all) - length(significant) + i64::from(exponent) + 6 - length(decimals);
    let Ok(zeros) = u32::try_from(zeros) else {
        return Err(format!("`{number}` has more than six decimals; a millionth is the least"));
    };
    let value = significant
        .parse::<u64>()
        .ok()
        .and_then(|value| value.checked_mul(10_u64.checked_pow(zeros)?))
        .filter(|value| *value <= LARGEST);
    value.ok_or_else(too_large)
}

/// A path that the operator wrote, made absolute at `base` and without `.` and `..`. This is done on
/// the names alone; the person who wrote them knows where the links lead.
pub(super) fn resolve(base: &Path, text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the path is empty; `.` is the manifest's directory".to_owned());
    }
    if text == "~" || text.starts_with("~/") {
        return Err(format!("`~` in `{}` is not expanded; write the path out", shown(text)));
    }
    let mut path = PathBuf::new();
    for part in base.join(text).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    if !path.is_absolute() {
        let base = shown(&base.to_string_lossy());
        return Err(format!(
            "the manifest's directory `{base}` is not absolute, so this has no place"
        ));
    }
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err("the manifest's directory is not UTF-8; write an absolute path".to_owned()),
    }
}

/// Where bytes of a decoded TOML string stand in its literal, quotes included. `None` when that can't
/// be told, as for strings of several lines.
pub(super) fn inside(literal: &str, decoded: &str, part: &Range<usize>) -> Option<Range<usize>> {
    let quote = literal.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let triple: String = [quote; 3].iter().collect();
    if literal.starts_with(&triple) {
        return None;
    }
    let inner = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    // For each character its place in the literal and its length in the decoded string.
    let (mut raw, mut plain) = (1, 0);
    let (mut start, mut end) = (None, None);
    let mut chars = inner.chars();
    loop {
        if plain == part.start {
            start = Some(raw);
        }
        if plain >= part.end && end.is_none() {
            end = Some(raw);
        }
        let Some(c) = chars.next() else { break };
        raw += c.len_utf8();
        if c != '\\' || quote == '\'' {
            plain += c.len_utf8();
            continue;
        }
        let escape = chars.next()?;
        raw += escape.len_utf8();
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code: String = chars.by_ref().take(digits).collect();
        raw += code.len();
        plain += match u32::from_str_radix(&code, 16).ok().and_then(char::from_u32) {
            Some(c) => c.len_utf8(),
            None => 1,
        };
    }
    (plain == decoded.len()).then_some(start?..end?)
}

/// Text of the manifest as it may stand in a message: cut, and with control and invisible characters
/// written as escapes.
pub(super) fn shown(text: &str) -> String {
    let mut out = visible(&text.chars().take(80).collect::<String>());
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}

/// Writes every character that can't be seen as an escape.
pub(super) fn visible(text: &str) -> String {
    lar_core::display::visible(text, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_hours_minutes_and_seconds() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("1h30m", 5400),
            ("1h1s", 3601),
            ("24h", 86_400),
            ("007s", 7),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "15",
            "s",
            "m5",
            "1.5h",
            "-1s",
            "+1s",
            "1 m",
            "1m 5s",
            "5s1m",
            "1m1m",
            "0s",
            "25h",
            "1d",
            "100ms",
            "99999999999999999999999s",
            "1h\n",
            "١s",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert!(duration("15").unwrap_err().contains("`15m`"));
    }

    #[test]
    fn money_is_exact() {
        for (text, micro) in [
            ("0", 0),
            ("0.0", 0),
            ("1.50", 1_500_000),
            ("1.1", 1_100_000),
            ("0.000001", 1),
            ("0.0000010000", 1),
            ("1_000", 1_000_000_000),
            ("1_0.2_5", 10_250_000),
            ("+2", 2_000_000),
            ("1e2", 100_000_000),
            ("25e-1", 2_500_000),
            ("1.5E+1", 15_000_000),
            ("0e999999999", 0),
            ("9007199254.740991", 9_007_199_254_740_991),
        ] {
            assert_eq!(micro_usd(text), Ok(micro), "{text}");
        }
        for bad in [
            "",
            "-1",
            "-0.0",
            "inf",
            "+inf",
            "nan",
            "0.0000001",
            "1e-7",
            "1e99",
            "1e99999999999",
            ".5",
            "0x10",
            "9007199254.740992",
            "99999999999999999999999999",
        ] {
            assert!(micro_usd(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_of_the_operator_begin_at_the_manifest() {
        let at = |text| resolve(Path::new("/work/app"), text);
        assert_eq!(at(".").unwrap(), "/work/app");
        assert_eq!(at("./out/../in/").unwrap(), "/work/app/in");
        assert_eq!(at("../..").unwrap(), "/");
        assert_eq!(at("../../../..").unwrap(), "/");
        assert_eq!(at("/etc/./app//x").unwrap(), "/etc/app/x");
        assert!(at("").is_err());
        assert!(at("~/x").unwrap_err().contains("write the path out"));
        assert_eq!(at("~x").unwrap(), "/work/app/~x");
        assert!(resolve(Path::new("relative"), "x").is_err());
    }

    #[test]
    fn a_character_is_found_behind_escapes() {
        for (literal, decoded, part, found) in [
            (r#""ab|c""#, "ab|c", 2..3, "|"),
            (r#"'ab|c'"#, "ab|c", 2..3, "|"),
            (r#""a\"\t|c""#, "a\"\t|c", 3..4, "|"),
            (r#""\u00fcé|""#, "üé|", 4..5, "|"),
            (r#""\u007c""#, "|", 0..1, r"\u007c"),
            (r#""a|""#, "a|", 2..2, ""),
        ] {
            let span = inside(literal, decoded, &part).unwrap();
            assert_eq!(literal.get(span), Some(found), "{literal}");
        }
        assert_eq!(inside(r#""""a""""#, "a", &(0..1)), None);
        assert_eq!(inside("", "", &(0..0)), None);
    }
}
