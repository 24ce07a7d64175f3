//! What a model's tokens cost: a small table as data (`prices.toml`), and integer arithmetic in
//! micro-dollars, because a limit that rounds is no limit.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::usage::Usage;

/// Prices in micro-dollars (millionths of a US dollar) per million tokens: three dollars per
/// million tokens are `3_000_000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Input that came from no cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from the prompt cache.
    pub cache_read: u64,
    /// Input written to the prompt cache.
    pub cache_write: u64,
}

impl Price {
    /// For models that nobody bills: a recording, a person.
    pub const FREE: Self = Self { input: 0, output: 0, cache_read: 0, cache_write: 0 };

    /// The cost in micro-dollars, rounded up; sums beyond `u64` stay at its maximum.
    pub fn cost(&self, usage: &Usage) -> u64 {
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum = part(usage.input_tokens, self.input)
            .saturating_add(part(usage.output_tokens, self.output))
            .saturating_add(part(usage.cache_read, self.cache_read))
            .saturating_add(part(usage.cache_write, self.cache_write));
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// A price table that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is not TOML of the expected shape.
    #[error("the price table can't be read: {0}")]
    Syntax(String),
    /// A price is not a plain decimal number.
    #[error(
        "the price `{value}` of `{model}` is not dollars per million tokens, written like \
         \"3.00\" with at most six decimals"
    )]
    Amount {
        /// Which model.
        model: String,
        /// What stands there.
        value: String,
    },
}

/// Prices by model name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceTable(BTreeMap<String, Price>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    model: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    input: String,
    output: String,
    cache_read: String,
    cache_write: String,
}

impl PriceTable {
    /// The table that comes with the program; its source and date stand in `prices.toml`.
    pub fn builtin() -> Self {
        // A test reads the same text, so the default is never what a user gets.
        Self::parse(include_str!("prices.toml")).unwrap_or_default()
    }

    /// Reads a table in the form of `prices.toml`.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let table: Table =
            toml::from_str(text).map_err(|error| PriceError::Syntax(error.to_string()))?;
        let mut prices = BTreeMap::new();
        for row in table.model {
            let amount = |value: &str| {
                micro(value).ok_or_else(|| PriceError::Amount {
                    model: row.name.clone(),
                    value: value.to_owned(),
                })
            };
            let price = Price {
                input: amount(&row.input)?,
                output: amount(&row.output)?,
                cache_read: amount(&row.cache_read)?,
                cache_write: amount(&row.cache_write)?,
            };
            prices.insert(row.name, price);
        }
        Ok(Self(prices))
    }

    /// This table with one price put over it.
    #[must_use]
    pub fn with(mut self, model: impl Into<String>, price: Price) -> Self {
        self.0.insert(model.into(), price);
        self
    }

    /// The price of a model by its recorded name, or `None`: a model that is not listed is never
    /// taken for a cheaper one whose name it begins with.
    pub fn price(&self, model: &str) -> Option<Price> {
        if let Some(price) = self.0.get(model) {
            return Some(*price);
        }
        self.0.iter().find_map(|(name, price)| {
            let rest = model.strip_prefix(name.as_str())?;
            names_a_version(rest).then_some(*price)
        })
    }
}

/// Whether this end of a name says only which snapshot of the same model is meant.
fn names_a_version(rest: &str) -> bool {
    if rest == "-latest" {
        return true;
    }
    let Some(date) = rest.strip_prefix(['-', '@']) else {
        return false;
    };
    let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00000000" || shape == "0000-00-00"
}

/// `"3.00"` to `3_000_000`.
fn micro(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 6 || !digits(whole) || !digits(decimals) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let decimals: u64 = format!("{decimals:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_table_reads_and_covers_dated_names_only() {
        PriceTable::parse(include_str!("prices.toml")).unwrap();
        let table = PriceTable::builtin();
        let sonnet = table.price("claude-sonnet-4-5").unwrap();
        assert_eq!((sonnet.input, sonnet.output), (3_000_000, 15_000_000));
        assert_eq!(table.price("claude-sonnet-4-5-20250929"), Some(sonnet));
        assert_eq!(table.price("claude-sonnet-4-5@20250929"), Some(sonnet));
        assert!(table.price("openai:gpt-5-2025-08-07").is_some());
        for unknown in
            ["openai:gpt-5-pro", "claude-sonnet-4-50", "claude-opus-5-20", "claude", "gpt-5", ""]
        {
            assert_eq!(table.price(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_default_model_has_a_price() {
        assert!(PriceTable::builtin().price(super::super::DEFAULT_MODEL).is_some());
    }

    #[test]
    fn costs_are_exact_and_rounded_up() {
        let price = Price {
            input: 3_000_000,
            output: 15_000_000,
            cache_read: 300_000,
            cache_write: 3_750_000,
        };
        let usage = Usage {
            input_tokens: 1000,
            output_tokens: 100,
            cache_read: 10_000,
            cache_write: 1,
            estimated: false,
        };
        assert_eq!(price.cost(&usage), 3000 + 1500 + 3000 + 4);
        let endless = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
        assert_eq!(price.cost(&endless), u64::MAX);
        assert_eq!(Price::FREE.cost(&endless), 0);
    }

    #[test]
    fn a_caller_s_rows_win_and_bad_ones_are_named() {
        let row = |input: &str| {
            format!(
                "[[model]]\nname = \"claude-sonnet-4-5\"\ninput = \"{input}\"\noutput = \"1\"\n\
                 cache_read = \"0.000001\"\ncache_write = \"0\"\n"
            )
        };
        let own = PriceTable::parse(&row("9.5")).unwrap().price("claude-sonnet-4-5").unwrap();
        assert_eq!((own.input, own.cache_read), (9_500_000, 1));
        let table = PriceTable::builtin().with("claude-sonnet-4-5", own);
        assert_eq!(table.price("claude-sonnet-4-5"), Some(own));
        assert!(table.price("claude-haiku-4-5").is_some());
        for bad in ["", "-1", "1e3", "1.0000001", ".5", "3,00", "99999999999999999999"] {
            let error = PriceTable::parse(&row(bad)).unwrap_err().to_string();
            assert!(error.contains("`claude-sonnet-4-5`"), "{error}");
        }
        assert!(PriceTable::parse("models = 1").is_err());
    }
}
