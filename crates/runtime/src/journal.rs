//! The journal of a run: each of the model's turns and each tool's result, durable before anything
//! follows from it, so that another process can go on where this one was cut off.
//!
//! A resumed run goes the same way as a new one. Where the journal has an answer it is taken from
//! there, and nothing is asked or done a second time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lar_core::audit::commitment::{Blinding, Part};
use lar_core::audit::record::{Body, Record};
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::{Attempt, Fence, Ledger, LedgerError, UseState};
use lar_core::outcome::Verdict;
use serde::{Deserialize, Serialize};

use crate::model::{Turn, Usage};

/// The version of the pages' form.
const VERSION: u32 = 1;

/// One page, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "page", rename_all = "snake_case")]
pub enum Page {
    /// What the run is about; the first page.
    Start(Start),
    /// The model answered.
    Turn {
        /// Counted from 1.
        turn: u64,
        /// The answer, as a line of a recording.
        record: String,
        /// What tries that failed before it used, in tokens: input, output, read from the cache,
        /// written to it.
        retried: [u64; 4],
    },
    /// What the model was told of a call.
    Result {
        /// The turn.
        turn: u64,
        /// The call's place in it, from 0.
        index: u64,
        /// The text.
        content: String,
        /// Whether it is anything else than a success.
        failed: bool,
    },
}

/// What a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The version of the pages' form.
    pub version: u32,
    /// The model, as it was named.
    pub model: String,
    /// The system prompt.
    pub system: String,
    /// The first user message.
    pub task: String,
    /// The manifest, where there is one.
    pub origin: Option<Origin>,
    /// What the records commit to, if they commit to anything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<Commit>,
}

/// What a run's records commit to, and the secret that salts are made from. It goes with the journal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    parts: Vec<Part>,
    secret: Digest,
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Commit({:?})", self.parts)
    }
}

impl Commit {
    /// A new secret; nothing where no part is committed to.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new(parts: Vec<Part>) -> Result<Option<Self>, getrandom::Error> {
        if parts.is_empty() {
            return Ok(None);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Some(Self { parts, secret: Digest::from_bytes(secret) }))
    }

    /// What commits, for this holder of the run.
    pub fn blinding(&self, holder: Fence) -> Arc<Blinding> {
        Arc::new(Blinding::new(self.parts.iter().copied(), *self.secret.as_bytes(), holder))
    }
}

/// The manifest that a run was declared in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its text.
    pub manifest: String,
    /// Its directory.
    pub base: String,
}

impl Start {
    /// The same, of a run whose records commit to something.
    #[must_use]
    pub fn commit(mut self, commit: Option<Commit>) -> Self {
        self.commit = commit;
        self
    }

    /// The first page of a run.
    pub fn new(model: String, system: String, task: String, origin: Option<Origin>) -> Self {
        Self { version: VERSION, model, system, task, origin, commit: None }
    }
}

impl Page {
    /// The page of a turn.
    pub(crate) fn turn(number: u64, turn: &Turn) -> Result<Self, String> {
        let record = turn.to_record().map_err(|error| error.to_string())?;
        let Usage { input_tokens, output_tokens, cache_read, cache_write, .. } = turn.retried;
        let retried = [input_tokens, output_tokens, cache_read, cache_write];
        Ok(Self::Turn { turn: number, record, retried })
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it can fail to serialise: its keys are texts and its numbers are whole.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A run can't be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no journal, or it can't be read.
    #[error("run `{0}` can't be resumed: {1}; `lar resume {0} --abandon` seals it")]
    Unreadable(RunId, String),
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A journal that was read: what the model has said and been told.
#[derive(Debug, Default)]
pub struct Tape {
    turns: VecDeque<(u64, Turn)>,
    results: BTreeMap<(u64, u64), (String, bool)>,
    last: u64,
}

impl Tape {
    /// Reads a run's journal.
    ///
    /// # Errors
    ///
    /// When there is none, or one that this version doesn't read.
    pub async fn read(ledger: &dyn Ledger, run: &RunId) -> Result<(Start, Self), JournalError> {
        const AT_ONCE: u64 = 64;
        let unread = |why: &str| JournalError::Unreadable(run.clone(), why.to_owned());
        let (mut start, mut tape, mut from) = (None, Self::default(), 1);
        loop {
            let pages = ledger.journal(run, from, AT_ONCE).await?;
            from += pages.len() as u64;
            for page in &pages {
                let page = serde_json::from_slice(page);
                match page.map_err(|_| unread("its journal is of another form"))? {
                    Page::Start(page) if page.version == VERSION => start = Some(page),
                    Page::Start(_) => return Err(unread("its journal is of another version")),
                    Page::Turn { turn: number, record, retried } => {
                        let turn = Turn::from_record(&record);
                        let mut turn = turn.map_err(|_| unread("a turn in it can't be read"))?;
                        let [input_tokens, output_tokens, cache_read, cache_write] = retried;
                        turn.retried = Usage {
                            input_tokens,
                            output_tokens,
                            cache_read,
                            cache_write,
                            ..Usage::default()
                        };
                        tape.turns.push_back((number, turn));
                        tape.last = number;
                    }
                    Page::Result { turn, index, content, failed } => {
                        tape.results.insert((turn, index), (content, failed));
                    }
                }
            }
            if (pages.len() as u64) < AT_ONCE {
                break;
            }
        }
        Ok((start.ok_or_else(|| unread("it has no journal"))?, tape))
    }

    /// How many turns the model has taken.
    pub fn turns(&self) -> u64 {
        self.last
    }

    /// The model's turn of that number, if it was taken before.
    pub(crate) fn turn(&mut self, number: u64) -> Option<Turn> {
        match self.turns.front() {
            Some((first, _)) if *first == number => self.turns.pop_front().map(|(_, turn)| turn),
            _ => None,
        }
    }

    /// What the model was told of a call, if it was told.
    pub(crate) fn result(&mut self, turn: u64, index: u64) -> Option<(String, bool)> {
        self.results.remove(&(turn, index))
    }

    /// Whether a call of that turn may have been made before the run was cut off.
    pub(crate) fn reaches(&self, turn: u64) -> bool {
        turn <= self.last
    }
}

/// What the model is told of a call that was made before the run was cut off and of which it never
/// heard. `None` when nothing was started, so that it can be made now.
pub(crate) fn told_later(attempt: &Attempt) -> Option<(String, bool)> {
    let lost = "its output was lost when the run was cut off";
    let text = match &attempt.state {
        UseState::Reserved { .. } | UseState::Released { .. } => return None,
        UseState::NeverBegan { .. } => {
            return Some(("nothing was started and the use was given back".to_owned(), true));
        }
        state => match state.verdict() {
            Some(Verdict::Succeeded) => return Some((format!("succeeded: {lost}"), false)),
            Some(Verdict::Failed) => format!("failed: {lost}"),
            _ => "unknown: the run was cut off while this action was under way. It may have happened or \
                  not; the use is spent and the action is never repeated. Find out what became of it \
                  before you go on."
                .to_owned(),
        },
    };
    Some((text, true))
}

/// What carries over from the records of a run that was cut off.
#[derive(Debug, Default)]
pub struct Carried {
    /// How long it was held, all holders together.
    pub held: Duration,
    /// How often a person denied each token.
    pub denials: BTreeMap<String, u32>,
    /// How many uses of each token it has spent.
    pub spent: BTreeMap<String, u32>,
    /// Tokens of which a use was spent with success.
    pub succeeded: BTreeSet<String>,
    /// Further capabilities that the model asked for.
    pub requests: u32,
    /// Confirmations that it asked for.
    pub confirmations: u32,
}

impl Carried {
    /// Reads it from the records, which have been checked.
    pub fn read(records: &[Record]) -> Self {
        let mut carried = Self::default();
        let mut since = None;
        for (record, next) in
            records.iter().zip(records.iter().skip(1).map(Some).chain(std::iter::once(None)))
        {
            let now = record.timestamp.as_millis();
            let began = *since.get_or_insert(now);
            if next.is_none_or(|next| matches!(next.body, Body::RunResume(_))) {
                carried.held += Duration::from_millis((now - began).unsigned_abs());
                since = None;
            }
            match &record.body {
                Body::Approval(answer) if answer.attempt.is_none() => carried.confirmations += 1,
                Body::Approval(answer) if !answer.approved => {
                    *carried.denials.entry(answer.token_name.clone()).or_default() += 1;
                }
                Body::Negotiation(_) => carried.requests += 1,
                Body::Intent(intent) => {
                    *carried.spent.entry(intent.token_name.clone()).or_default() += 1;
                }
                Body::Outcome(outcome) if outcome.outcome == Some(Verdict::Succeeded) => {
                    carried.succeeded.insert(outcome.token_name.clone());
                }
                _ => {}
            }
        }
        carried
    }
}
