//! Counting tokens.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Tokens used, in the four classes that are billed apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens that came from no cache.
    pub input_tokens: u64,
    /// Output tokens, thinking included.
    pub output_tokens: u64,
    /// Input tokens read from the prompt cache.
    pub cache_read: u64,
    /// Input tokens written to the prompt cache.
    pub cache_write: u64,
    /// The service reported nothing; these are estimated from the bytes sent and received, on the
    /// high side, so that a budget still binds.
    pub estimated: bool,
}

impl Usage {
    /// All tokens, in and out.
    pub fn total(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.output_tokens)
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
    }

    /// Adds another turn's tokens; sums saturate.
    pub fn add(&mut self, other: Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.estimated |= other.estimated;
    }

    /// Three bytes a token is below what real tokenizers reach on English and code.
    pub(super) fn estimate(sent: usize, received: usize) -> Self {
        let tokens = |bytes: usize| (bytes as u64).div_ceil(3);
        Self {
            input_tokens: tokens(sent),
            output_tokens: tokens(received),
            estimated: true,
            ..Self::default()
        }
    }

    /// Reads the API's `usage` object; `None` if it lacks the counts.
    pub(super) fn read(usage: &RawValue) -> Option<Self> {
        let wire: WireUsage = serde_json::from_str(usage.get()).ok()?;
        Some(Self {
            input_tokens: wire.input_tokens?,
            output_tokens: wire.output_tokens?,
            cache_read: wire.cache_read_input_tokens.unwrap_or(0),
            cache_write: wire.cache_creation_input_tokens.unwrap_or(0),
            estimated: wire.estimated,
        })
    }

    /// The API's form.
    pub(super) fn wire(&self) -> WireUsage {
        WireUsage {
            input_tokens: Some(self.input_tokens),
            output_tokens: Some(self.output_tokens),
            cache_read_input_tokens: Some(self.cache_read),
            cache_creation_input_tokens: Some(self.cache_write),
            estimated: self.estimated,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}
