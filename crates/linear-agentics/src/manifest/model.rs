//! The manifest's tables as types, but for those of tokens (`kinds.rs`). They are the one source of the published schema, of the known
//! keys and of what is read, so the three can't drift apart.
//!
//! The doc comments here are what an editor shows beside a key: they say the unit and the default.

use schemars::JsonSchema;
use serde::Deserialize;

use super::kinds::TokenTable;
use super::value::{Dollars, DurationText, TimeText};

/// What an agent may do in one run, and for how long.
#[derive(Debug, JsonSchema)]
#[schemars(title = "Linear Agent Runtime manifest", deny_unknown_fields)]
#[expect(dead_code, reason = "the struct is the schema; its tables are read one by one")]
pub(super) struct Root {
    /// Who decides, and what for.
    pub agent: Option<AgentTable>,
    /// The limits of the run.
    pub budget: BudgetTable,
    /// The issued grant that runs draw their uses from.
    pub grant: Option<GrantTable>,
    /// How people are asked.
    pub approval: Option<ApprovalTable>,
    /// How the kernel must confine the programs that are run.
    pub confinement: Option<ConfinementTable>,
    /// How often the agent may ask for a candidate.
    pub negotiation: Option<NegotiationTable>,
    /// Who cosigns the log's head, so that nobody can show two histories.
    pub witnessing: Option<WitnessingTable>,
    /// How the record is kept.
    pub audit: Option<AuditTable>,
    /// Prices of models, put over the built-in table.
    pub price: Option<Vec<PriceTable>>,
    /// Profiles of programs, beside those that are shipped.
    pub profile: Option<Vec<ProfileTable>>,
    /// What the agent holds from the start.
    pub token: Option<Vec<TokenTable>>,
    /// What a person may grant while it runs.
    pub candidate: Option<Vec<TokenTable>>,
}

/// Who decides, and what for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentTable {
    /// The model: a Claude model's name, `openai:NAME`, `replay:FILE` or `human`. Default:
    /// `claude-sonnet-5-5`.
    #[schemars(length(min = 1))]
    pub model: Option<String>,
    /// The system prompt.
    pub system: Option<String>,
    /// The first message of the conversation. `--task` replaces it.
    pub task: Option<String>,
}

/// The limits of the run. What is left when it ends is reported.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetTable {
    /// Tool calls that the model may make, refused ones included.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub max_steps: u64,
    /// Wall-clock time for the whole run, approvals included; at most a day.
    pub timeout: DurationText,
    /// Model tokens, input and output together. Default: no limit.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub max_tokens: Option<u64>,
    /// What the model may cost, in US dollars with at most six decimals. Default: no limit.
    pub max_cost_usd: Option<Dollars>,
}

/// The issued grant that runs draw their uses from. `lar grants issue` creates it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantTable {
    /// Its name: 1 to 64 letters, digits, `.`, `_` and `-`.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The id of the ledger in which it lies, as `lar grants issue` prints it. A run on another one is
    /// refused.
    pub ledger: Option<String>,
    /// When it ends, by the ledger's clock (RFC 3339). Default: never.
    pub expires: Option<TimeText>,
}

/// How people are asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalTable {
    /// How long a person may take to answer; silence denies. At most a day. Default: `5m`.
    pub timeout: Option<DurationText>,
    /// Who may approve, by a signature from wherever they are: SSH public keys, each with the person's name,
    /// as in `alice@example.com ssh-ed25519 AAAA…`. For all tokens that require approval and list nobody of
    /// their own. Default: whoever sits at the run's own terminal.
    #[schemars(length(min = 1, max = 64))]
    pub approvers: Option<Vec<String>>,
    /// How many of them must approve. Default: 1.
    #[schemars(range(min = 1, max = 16))]
    pub required: Option<u32>,
    /// Whether whoever started the run can't be one of them. Default: false.
    pub not_the_runner: Option<bool>,
}

/// How the kernel must confine the programs that are run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfinementTable {
    /// The weakest tier with which the run may start: `A` (namespaces, Landlock, seccomp), `B` (Landlock
    /// and seccomp) or `C` (no kernel confinement). Default: `A` on Linux.
    pub min_tier: Option<TierName>,
}

/// A tier.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum TierName {
    A,
    B,
    C,
}

/// How often the agent may ask for a candidate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NegotiationTable {
    /// Requests in one run, denied ones included. Default: 3.
    #[schemars(range(min = 0, max = 100))]
    pub max_requests: Option<u32>,
}

/// Who cosigns the log's head, so that nobody can show two histories. `lar witness` is such a server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessingTable {
    /// How many of them must cosign. Default: all of them.
    #[schemars(range(min = 1, max = 64))]
    pub required: Option<usize>,
    /// How long they may take together; at most a day. Default: `5s`.
    pub timeout: Option<DurationText>,
    /// The witnesses.
    #[schemars(length(min = 1, max = 64))]
    pub witness: Vec<WitnessTable>,
}

/// How the record is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditTable {
    /// What may hold data about people: it stands in the record as salted commitments, and what it says is
    /// kept apart, where `lar audit erase` can delete it without breaking a proof. Default: nothing.
    #[serde(default)]
    pub commit: Vec<CommitName>,
    /// A time-stamping authority (RFC 3161), http or https: at the end of a run it states when the log's head
    /// was there. `--tsa` replaces it. Default: none.
    pub timestamp: Option<String>,
}

/// What a record can commit to.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CommitName {
    /// All of the following.
    All,
    /// The arguments of actions, the questions that show them to people, and what was refused.
    Args,
    /// Summaries and digests of outputs.
    Output,
    /// What the model says: its last message, why it asks for something, the digests of its answers.
    Words,
    /// What the run is for.
    Task,
}

/// A witness.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessTable {
    /// Where it is, http or https; `add-checkpoint` is added to it.
    pub url: String,
    /// Its key, `NAME+ID+BASE64`, as `lar witness init` prints it.
    pub key: String,
}

/// A file that says what is known of programs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileTable {
    /// The file. A relative path begins at the manifest's directory.
    #[schemars(length(min = 1))]
    pub file: String,
    /// SHA-256 of the file, in hexadecimal digits. With it, the file's profiles take the place of shipped
    /// ones of the same programs; without it, a command must pass both.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// What a model costs, in US dollars per million tokens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "amounts are taken from the text of their numbers")]
pub(super) struct PriceTable {
    /// The model's name as it is recorded, such as `openai:gpt-5`.
    #[schemars(length(min = 1))]
    pub model: String,
    /// Input that came from no cache.
    pub input_per_mtok_usd: Dollars,
    /// Output.
    pub output_per_mtok_usd: Dollars,
    /// Input read from the prompt cache. Default: the price of input.
    pub cache_read_per_mtok_usd: Option<Dollars>,
    /// Input written to the prompt cache. Default: a quarter more than input.
    pub cache_write_per_mtok_usd: Option<Dollars>,
}
