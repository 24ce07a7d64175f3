//! Manifests: what a person declares for a run, read from TOML.
//!
//! Reading tells everything that is wrong at once, each with its place and what to do next. Paths
//! that the operator wrote are made absolute at the manifest's directory.
//!
//! What this module never does: it opens no file, reads no environment variable and no clock, and
//! holds no secret's value; one that was written into a manifest is refused and never shown.

mod approvers;
mod audit;
mod build;
mod database;
mod diagnostic;
mod hide;
mod kinds;
mod model;
mod names;
mod profiles;
mod read;
mod report;
mod schema;
mod secret;
mod suggest;
mod value;
mod walk;
mod warn;
mod witnessing;
mod worst;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lar_core::approval::Approvers;
use lar_core::audit::commitment::Part;
use lar_core::budget::Budget;
use lar_core::json::Digest;
use lar_core::time::Timestamp;
use lar_core::token::Token;
use lar_runtime::confine::Tier;
use lar_runtime::witness::Witnessing;
use url::Url;

use crate::grant::GrantChoice;

pub use diagnostic::{Diagnostic, ManifestError};
pub use lar_runtime::model::DEFAULT_MODEL;
pub use profiles::Load;
pub use report::{Ability, Report, TokenReport, Verb, Warning};
pub use schema::schema;
pub use value::duration as parse_duration;
pub use worst::{Surroundings, worst};

/// How long a person may take to answer when the manifest doesn't say: 5 minutes.
pub const DEFAULT_APPROVAL_TIMEOUT: Duration = Duration::from_secs(300);
/// How many capabilities the model may ask for when the manifest doesn't say.
pub const DEFAULT_MAX_REQUESTS: u32 = 3;
/// The largest manifest: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// A manifest that was read and checked.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Who decides, and what for.
    pub agent: AgentSettings,
    /// The limits of the run.
    pub budget: Budget,
    /// The issued grant that runs draw from, if it names one.
    pub grant: Option<GrantSettings>,
    /// How long a person may take to answer; silence denies.
    pub approval_timeout: Duration,
    /// Who may approve by a signature, where a token lists nobody of its own.
    pub approvers: Option<Approvers>,
    /// How many capabilities the model may ask for in one run, denials included.
    pub max_requests: u32,
    /// The weakest tier with which the run may start; `None` for the default, A on Linux.
    pub min_tier: Option<Tier>,
    /// Who cosigns the log's head.
    pub witnessing: Option<Witnessing>,
    /// What the records commit to instead of saying it.
    pub commit: Vec<Part>,
    /// Who states at the end of a run when the log's head was there.
    pub authority: Option<Url>,
    /// What the agent holds from the start, in the manifest's order.
    pub tokens: Vec<Token>,
    /// What a person may grant while it runs, in the manifest's order.
    pub candidates: Vec<Token>,
    /// Prices that go over the built-in table.
    pub prices: Vec<ModelPrice>,
    /// The manifest's exact text.
    pub text: String,
    /// SHA-256 of the manifest's exact bytes.
    pub digest: Digest,
    /// The manifest's directory, absolute: where relative paths begin, and where commands run unless
    /// their token says otherwise.
    pub base: PathBuf,
}

/// The issued grant that runs draw from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantSettings {
    /// Which, and in which ledger.
    pub choice: GrantChoice,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// Who decides, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// The model: a Claude model's name, `openai:NAME`, `replay:FILE` or `human`. As it was written: a
    /// recording's path is not made absolute.
    pub model: String,
    /// The system prompt.
    pub system: Option<String>,
    /// The first message of the conversation.
    pub task: Option<String>,
}

/// What a model costs, in millionths of a US dollar per million tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPrice {
    /// The model's name as it is recorded.
    pub model: String,
    /// Input that came from no cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from the prompt cache; the price of input unless it was stated.
    pub cache_read: u64,
    /// Input written to the prompt cache; a quarter more than input, rounded up, unless it was stated.
    pub cache_write: u64,
}

impl Manifest {
    /// Reads a manifest. `base` is the absolute path of its directory.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, as far as that can be told at once.
    ///
    /// ```
    /// use linear_agentics::manifest::Manifest;
    /// let manifest = Manifest::read(
    ///     r#"
    ///     [budget]
    ///     max_steps = 20
    ///     timeout = "15m"
    ///
    ///     [[token]]
    ///     kind = "shell"
    ///     name = "pods"
    ///     allowed = ["kubectl get pods"]
    ///     "#,
    ///     "/work/app".as_ref(),
    /// )?;
    /// assert_eq!(manifest.tokens[0].tool_name(), "shell_pods");
    /// # Ok::<(), linear_agentics::manifest::ManifestError>(())
    /// ```
    pub fn read(text: &str, base: &Path) -> Result<Self, ManifestError> {
        read::read(text, base, &profiles::none)
    }

    /// Reads a manifest from the bytes of a file; they must be UTF-8.
    ///
    /// # Errors
    ///
    /// As [`Manifest::read`].
    pub fn read_bytes(bytes: &[u8], base: &Path) -> Result<Self, ManifestError> {
        read::read_bytes(bytes, base, &profiles::none)
    }

    /// The same, for a manifest that names files with profiles: `load` reads each of them by its
    /// absolute path.
    ///
    /// # Errors
    ///
    /// As [`Manifest::read`].
    pub fn read_with(bytes: &[u8], base: &Path, load: Load<'_>) -> Result<Self, ManifestError> {
        read::read_bytes(bytes, base, load)
    }
}

#[cfg(test)]
mod tests;
