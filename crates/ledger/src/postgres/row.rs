//! Reading rows: what isn't what a ledger leaves is damage.

use lar_core::id::{AttemptId, RunId};
use lar_core::json::Digest;
use lar_core::ledger::{
    Attempt, Definitions, Fence, Grant, GrantId, Granted, LedgerError, Revocation, RunSummary,
    TokenState, UseState,
};
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

type Result<T> = std::result::Result<T, LedgerError>;

pub(super) fn unreadable() -> LedgerError {
    LedgerError::Damaged("a value in it can't be read; restore it from a backup".to_owned())
}

pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T> {
    row.try_get(column).map_err(|_| unreadable())
}

pub(super) fn number(row: &Row, column: &str) -> Result<u64> {
    u64::try_from(get::<i64>(row, column)?).map_err(|_| unreadable())
}

pub(super) fn time(row: &Row, column: &str) -> Result<Timestamp> {
    get(row, column).map(Timestamp::from_millis)
}

pub(super) fn maybe_time(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_millis))
}

pub(super) fn digest(row: &Row, column: &str) -> Result<Digest> {
    let bytes: &[u8] = get(row, column)?;
    <[u8; 32]>::try_from(bytes).map(Digest::from_bytes).map_err(|_| unreadable())
}

fn text(row: &Row, column: &str) -> Result<String> {
    String::from_utf8(get(row, column)?).map_err(|_| unreadable())
}

pub(super) const RUN: &str =
    "SELECT r.id, g.id AS of_grant, r.opened, r.stop_reason, r.records, r.head, r.at,
        r.task, r.owner, r.fence, r.lease_ms, r.lease_until, r.pages
    FROM lar.runs r JOIN lar.grants g ON g.n = r.grant_n";

pub(super) fn run(row: &Row) -> Result<RunSummary> {
    let grant: String = get(row, "of_grant")?;
    Ok(RunSummary {
        run: RunId::new(get::<String>(row, "id")?).map_err(|_| unreadable())?,
        grant: GrantId::try_from(grant).map_err(|_| unreadable())?,
        opened: time(row, "opened")?,
        stop_reason: get(row, "stop_reason")?,
        records: number(row, "records")?,
        head: digest(row, "head")?,
        task: text(row, "task")?,
        owner: get(row, "owner")?,
        fence: number(row, "fence")?,
        lease_ms: number(row, "lease_ms")?,
        lease_until: time(row, "lease_until")?,
        pages: number(row, "pages")?,
    })
}

pub(super) const ATTEMPT: &str =
    "SELECT a.id, a.token, a.action, a.state, a.fence, a.lease_until, a.approved_until,
        a.holder, a.seq
    FROM lar.attempts a";

pub(super) fn attempt(row: &Row) -> Result<Attempt> {
    let fence = number(row, "fence")?;
    Ok(Attempt {
        id: AttemptId::from_digest(digest(row, "id")?),
        token: get(row, "token")?,
        action: digest(row, "action")?,
        state: state(row, fence)?,
        holder: number(row, "holder")?,
        seq: number(row, "seq")?,
    })
}

fn state(row: &Row, fence: Fence) -> Result<UseState> {
    let approved_until = maybe_time(row, "approved_until")?;
    Ok(match get(row, "state")? {
        "reserved" => UseState::Reserved {
            fence,
            lease_until: time(row, "lease_until")?,
            action: digest(row, "action")?,
            approved_until,
        },
        "released" => UseState::Released { fence, action: digest(row, "action")?, approved_until },
        "started" => UseState::Started { fence },
        "never_began" => UseState::NeverBegan { fence },
        "succeeded" => UseState::Ended { fence, verdict: Verdict::Succeeded },
        "failed" => UseState::Ended { fence, verdict: Verdict::Failed },
        "unknown" => UseState::Ended { fence, verdict: Verdict::Unknown },
        "resolved_succeeded" => UseState::Resolved { fence, verdict: Verdict::Succeeded },
        "resolved_failed" => UseState::Resolved { fence, verdict: Verdict::Failed },
        _ => return Err(unreadable()),
    })
}

pub(super) const GRANT: &str =
    "SELECT g.id, g.issued, g.expires, g.revoked_at, g.revoked_why, g.epoch, g.definitions
    FROM lar.grants g";

pub(super) fn grant(row: &Row, tokens: Vec<TokenState>) -> Result<Grant> {
    let revoked = match maybe_time(row, "revoked_at")? {
        Some(at) => Some(Revocation { at, reason: text(row, "revoked_why")? }),
        None => None,
    };
    let id: String = get(row, "id")?;
    Ok(Grant {
        id: GrantId::try_from(id).map_err(|_| unreadable())?,
        issued: time(row, "issued")?,
        expires: maybe_time(row, "expires")?,
        revoked,
        epoch: number(row, "epoch")?,
        definitions: Definitions::from_text(get::<String>(row, "definitions")?),
        tokens,
    })
}

pub(super) const TOKEN: &str =
    "SELECT g.id AS of_grant, t.name, t.definition, t.granted, t.uses_left, t.expires,
        t.requires_approval, t.candidate, t.unlocked_by
    FROM lar.tokens t JOIN lar.grants g ON g.n = t.grant_n";

pub(super) fn token(row: &Row) -> Result<TokenState> {
    let count = |column| u32::try_from(number(row, column)?).map_err(|_| unreadable());
    Ok(TokenState {
        granted: Granted {
            name: get(row, "name")?,
            definition: digest(row, "definition")?,
            uses: count("granted")?,
            expires: maybe_time(row, "expires")?,
            requires_approval: get(row, "requires_approval")?,
            candidate: get(row, "candidate")?,
        },
        unlocked_by: match get::<Option<String>>(row, "unlocked_by")? {
            Some(run) => Some(RunId::new(run).map_err(|_| unreadable())?),
            None => None,
        },
        uses_left: count("uses_left")?,
    })
}
