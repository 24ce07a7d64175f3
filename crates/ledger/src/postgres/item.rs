//! One change on its way to the database, and what the database says to it.

use lar_core::audit::commitment::Opening;
use lar_core::audit::record::{Body, Unsealed};
use lar_core::id::RunId;
use lar_core::ledger::transact;
use lar_core::ledger::{
    Attempt, Change, Conflict, Entry, Fence, LedgerError, MOST_JOURNAL_BYTES, Receipt, Resolver,
    Transition, UseState,
};
use lar_core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::row::{self, number, time};

/// The call of `lar.commit`.
pub(super) const COMMIT: &str =
    "SELECT * FROM lar.commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
    $12, $13, $14, $15, $16, $17, $18, $19)";

/// Longer holds are as good as for ever: the year 9999.
const LONGEST_MS: i64 = 253_402_128_000_000;

/// A change, a record or a page, or several of them at once.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) run: RunId,
    /// `None` for a step from outside the run.
    pub(super) fence: Option<i64>,
    /// Tells this request from every other one.
    pub(super) nonce: [u8; 16],
    pub(super) change: Option<Step>,
    pub(super) unlock: Option<String>,
    pub(super) pieces: Option<[String; 4]>,
    /// What the record commits to.
    pub(super) openings: Option<String>,
    pub(super) page: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) attempt: [u8; 32],
    pub(super) token: String,
    pub(super) action: [u8; 32],
    pub(super) transition: &'static str,
    pub(super) held: Option<i64>,
    pub(super) lease_ms: Option<i64>,
    pub(super) not_after: Option<i64>,
    pub(super) verdict: Option<&'static str>,
}

impl Item {
    pub(super) fn of(entry: Entry) -> Result<Self, LedgerError> {
        let Entry { hold, change, unlock, record, openings, journal } = entry;
        if change.is_some() && record.is_none() {
            return Err(LedgerError::BadRecord("a change comes with its record".to_owned()));
        }
        if let Some(bytes) = journal.as_ref().filter(|bytes| bytes.len() > MOST_JOURNAL_BYTES) {
            return Err(LedgerError::BadRecord(format!(
                "a page of the journal has {} bytes; at most {MOST_JOURNAL_BYTES} fit",
                bytes.len()
            )));
        }
        let joined = joined(&openings);
        let pieces = record.map(|body| pieces(&hold.run, &body, openings)).transpose()?;
        Ok(Self {
            run: hold.run,
            fence: Some(fence(hold.fence)?),
            nonce: nonce()?,
            change: change.map(Step::of).transpose()?,
            unlock: (!unlock.is_empty()).then(|| unlock.join("\n")),
            pieces,
            openings: joined,
            page: journal,
        })
    }

    /// A step that is made without a hold on the run.
    pub(super) fn from_outside(
        run: RunId,
        change: Change,
        record: &Body,
    ) -> Result<Self, LedgerError> {
        let pieces = pieces(&run, record, Vec::new())?;
        Ok(Self {
            run,
            fence: None,
            nonce: nonce()?,
            change: Some(Step::of(change)?),
            unlock: None,
            pieces: Some(pieces),
            openings: None,
            page: None,
        })
    }

    /// The token of the change and the attempt, if there is a change.
    pub(super) fn attempt(&self) -> Option<([u8; 32], &str)> {
        self.change.as_ref().map(|step| (step.attempt, step.token.as_str()))
    }

    /// Whether what this item took hold of is still its own, as it stands when a lost answer is looked
    /// up. Whoever has lost it in between must not go on as if it were just made.
    pub(super) fn is_still_held(&self, found: &Attempt) -> Result<(), Conflict> {
        let takes = self.change.as_ref().map(|step| step.transition);
        let (Some(transition @ ("start" | "reserve")), Some(fence)) = (takes, self.fence) else {
            return Ok(());
        };
        if u64::try_from(fence) != Ok(found.holder) {
            return Err(Conflict::RunLost);
        }
        match (transition, &found.state) {
            ("start", UseState::Started { .. }) | ("reserve", UseState::Reserved { .. }) => Ok(()),
            _ => Err(Conflict::Fenced),
        }
    }
}

impl Step {
    fn of(change: Change) -> Result<Self, LedgerError> {
        let mut step = Self {
            attempt: *change.attempt.digest().as_bytes(),
            token: change.token,
            action: *change.action.as_bytes(),
            transition: "",
            held: None,
            lease_ms: None,
            not_after: None,
            verdict: None,
        };
        step.transition = match change.transition {
            Transition::Reserve { lease_ms } => {
                let millis = i64::try_from(lease_ms).unwrap_or(LONGEST_MS);
                step.lease_ms = Some(millis.min(LONGEST_MS));
                "reserve"
            }
            Transition::Approve { not_after } => {
                step.not_after = Some(not_after.as_millis());
                "approve"
            }
            Transition::Release { fence: held } => {
                step.held = Some(fence(held)?);
                "release"
            }
            Transition::Start { held } => {
                step.held = held.map(fence).transpose()?;
                "start"
            }
            Transition::Finish { fence: held, verdict } => {
                step.held = Some(fence(held)?);
                step.verdict = Some(verdict.as_str());
                "finish"
            }
            Transition::NeverBegan { fence: held } => {
                step.held = Some(fence(held)?);
                "never_began"
            }
            Transition::Recover => "recover",
            Transition::Expire => "expire",
            Transition::Resolve { by, verdict } => {
                if let Resolver::Owner { fence: held } = by {
                    step.held = Some(fence(held)?);
                }
                step.verdict = Some(verdict.as_str());
                "resolve"
            }
        };
        Ok(step)
    }
}

/// A fence that no ledger gives out is nobody's.
fn fence(fence: Fence) -> Result<i64, LedgerError> {
    i64::try_from(fence).map_err(|_| Conflict::Fenced.into())
}

/// The record's bytes without its number, predecessor and time, which the database fills in under its lock on the
/// run.
fn pieces(run: &RunId, body: &Body, openings: Vec<Opening>) -> Result<[String; 4], LedgerError> {
    transact::unsealed(run, body, openings).map(Unsealed::into_pieces)
}

/// Openings as one text: there is no line feed in canonical JSON.
pub(super) fn joined(openings: &[Opening]) -> Option<String> {
    let lines: Vec<&str> = openings.iter().map(Opening::line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A name for a request.
pub(super) fn nonce() -> Result<[u8; 16], LedgerError> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)
        .map_err(|_| LedgerError::Unavailable("the system gives no random numbers".to_owned()))?;
    Ok(nonce)
}

/// Items side by side: one array for each parameter.
pub(super) struct Columns<'i> {
    again: bool,
    runs: Vec<&'i str>,
    fences: Vec<Option<i64>>,
    nonces: Vec<&'i [u8]>,
    attempts: Vec<Option<&'i [u8]>>,
    tokens: Vec<Option<&'i str>>,
    actions: Vec<Option<&'i [u8]>>,
    transitions: Vec<Option<&'i str>>,
    helds: Vec<Option<i64>>,
    leases: Vec<Option<i64>>,
    not_afters: Vec<Option<i64>>,
    verdicts: Vec<Option<&'i str>>,
    unlocks: Vec<Option<&'i str>>,
    pieces: [Vec<Option<&'i str>>; 4],
    openings: Vec<Option<&'i str>>,
    pages: Vec<Option<&'i [u8]>>,
}

impl<'i> Columns<'i> {
    pub(super) fn of(items: &[&'i Item], again: bool) -> Self {
        let steps = || items.iter().map(|item| item.change.as_ref());
        let piece = |place: usize| {
            let of = |item: &&'i Item| item.pieces.as_ref()?.get(place).map(String::as_str);
            items.iter().map(of).collect()
        };
        Self {
            again,
            runs: items.iter().map(|item| item.run.as_str()).collect(),
            fences: items.iter().map(|item| item.fence).collect(),
            nonces: items.iter().map(|item| item.nonce.as_slice()).collect(),
            attempts: steps().map(|step| Some(step?.attempt.as_slice())).collect(),
            tokens: steps().map(|step| Some(step?.token.as_str())).collect(),
            actions: steps().map(|step| Some(step?.action.as_slice())).collect(),
            transitions: steps().map(|step| Some(step?.transition)).collect(),
            helds: steps().map(|step| step?.held).collect(),
            leases: steps().map(|step| step?.lease_ms).collect(),
            not_afters: steps().map(|step| step?.not_after).collect(),
            verdicts: steps().map(|step| step?.verdict).collect(),
            unlocks: items.iter().map(|item| item.unlock.as_deref()).collect(),
            pieces: [piece(0), piece(1), piece(2), piece(3)],
            openings: items.iter().map(|item| item.openings.as_deref()).collect(),
            pages: items.iter().map(|item| item.page.as_deref()).collect(),
        }
    }

    /// What `lar.commit` takes.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 19] {
        let [a, b, c, d] = &self.pieces;
        [
            &self.again,
            &self.runs,
            &self.fences,
            &self.nonces,
            &self.attempts,
            &self.tokens,
            &self.actions,
            &self.transitions,
            &self.helds,
            &self.leases,
            &self.not_afters,
            &self.verdicts,
            &self.unlocks,
            a,
            b,
            c,
            d,
            &self.openings,
            &self.pages,
        ]
    }

    /// What `lar.commit_some` takes.
    pub(super) fn plain(&self) -> [&(dyn ToSql + Sync); 15] {
        let [a, b, c, d] = &self.pieces;
        [
            &self.runs,
            &self.fences,
            &self.nonces,
            &self.transitions,
            &self.attempts,
            &self.tokens,
            &self.actions,
            &self.helds,
            &self.verdicts,
            a,
            b,
            c,
            d,
            &self.openings,
            &self.pages,
        ]
    }
}

/// What became of an item.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was made.
    Made(Receipt),
    /// It was made by an earlier call; this is the number of its record.
    Found(u64),
    /// No use is left, but some are held beyond their time.
    HoldsRanOut,
    /// It was refused. Nothing was changed.
    Refused(LedgerError),
}

impl Answer {
    fn made(row: &Row) -> Result<Self, LedgerError> {
        let uses_left = u32::try_from(number(row, "uses_left")?).map_err(|_| row::unreadable())?;
        Ok(Self::Made(Receipt {
            seq: number(row, "seq")?,
            hash: row::digest(row, "hash")?,
            timestamp: time(row, "at")?,
            fence: number(row, "fence")?,
            uses_left,
            approved_until: row::maybe_time(row, "approved_until")?,
        }))
    }

    /// Which item a row is about, counted from 0, and what it says.
    pub(super) fn of(row: &Row, items: &[&Item]) -> Result<(usize, Self), LedgerError> {
        let place: i64 = row::get(row, "item")?;
        let place = usize::try_from(place - 1).ok();
        let (place, item) = place
            .and_then(|place| Some((place, *items.get(place)?)))
            .ok_or_else(row::unreadable)?;
        let code: Option<&str> = row::get(row, "code")?;
        let Some(code) = code else {
            return Ok((place, Self::made(row)?));
        };
        let run = || item.run.to_string();
        let what = || -> Result<String, LedgerError> {
            Ok(row::get::<Option<String>>(row, "what")?.unwrap_or_default())
        };
        let until = || -> Result<Timestamp, LedgerError> { time(row, "detail") };
        let conflict = match code {
            "found" => return Ok((place, Self::Found(number(row, "seq")?))),
            "holds_ran_out" => return Ok((place, Self::HoldsRanOut)),
            "unknown_run" => return Ok((place, Self::Refused(LedgerError::UnknownRun(run())))),
            "run_closed" => return Ok((place, Self::Refused(LedgerError::RunClosed(run())))),
            "run_lost" => Conflict::RunLost,
            "unknown_token" => Conflict::UnknownToken(what()?),
            "locked" => Conflict::Locked,
            "no_use_left" => Conflict::NoUseLeft,
            "already_attempted" => Conflict::AlreadyAttempted,
            "not_approved" => Conflict::NotApproved,
            "lease_expired" => Conflict::LeaseExpired,
            "other_action" => Conflict::OtherAction,
            "out_of_order" => Conflict::OutOfOrder,
            "fenced" => Conflict::Fenced,
            "revoked" => Conflict::Revoked,
            "quarantined" => Conflict::Quarantined,
            "approval_expired" => Conflict::ApprovalExpired(until()?),
            "grant_expired" => Conflict::GrantExpired(until()?),
            "expired" => Conflict::Expired(until()?),
            _ => return Err(row::unreadable()),
        };
        Ok((place, Self::Refused(conflict.into())))
    }
}
