//! Grants as tables.

use lar_core::ledger::Grant;

use super::{DEFAULT_WIDTH, NARROWEST, align, table, trimmed};
use crate::report::rows::shown;

/// Named grants as text, one a row, at most `width` columns wide.
pub fn grants(grants: &[Grant], epoch: u64, width: Option<u16>) -> String {
    let mut table = table(width.unwrap_or(DEFAULT_WIDTH).max(NARROWEST));
    table.set_header(["grant", "issued", "state", "left"]);
    for grant in grants {
        let issued = grant.issued.to_string();
        let sum = |of: fn(&lar_core::ledger::TokenState) -> u32| -> u64 {
            grant.tokens.iter().map(|token| u64::from(of(token))).sum()
        };
        table.add_row([
            grant.id.to_string(),
            issued.get(..19).unwrap_or_default().replace('T', " "),
            grant_state(grant, epoch),
            format!("{} of {}", sum(|token| token.uses_left), sum(|token| token.granted.uses)),
        ]);
    }
    trimmed(&table)
}

/// A grant's tokens as text, one a row.
pub fn grant(grant: &Grant, width: Option<u16>) -> String {
    let mut table = table(width.unwrap_or(DEFAULT_WIDTH).max(NARROWEST));
    table.set_header(["token", "granted", "left", "approval", "expires", "candidate"]);
    for token in &grant.tokens {
        let granted = &token.granted;
        table.add_row([
            shown(&granted.name, 64),
            granted.uses.to_string(),
            token.uses_left.to_string(),
            if granted.requires_approval { "each use" } else { "" }.to_owned(),
            granted.expires.map(|end| end.to_string()).unwrap_or_default(),
            match (&token.unlocked_by, granted.candidate) {
                (Some(run), _) => format!("granted to {run}"),
                (None, true) => "locked".to_owned(),
                (None, false) => String::new(),
            },
        ]);
    }
    align(&mut table, &[1, 2]);
    trimmed(&table)
}

/// Where a grant stands, in words. The end of its time is the ledger's to judge, so it is only named.
pub fn grant_state(grant: &Grant, epoch: u64) -> String {
    match (&grant.revoked, grant.expires) {
        (Some(revoked), _) if revoked.reason.is_empty() => format!("revoked {}", revoked.at),
        (Some(revoked), _) => format!("revoked {} ({})", revoked.at, shown(&revoked.reason, 120)),
        _ if grant.epoch != epoch => format!("quarantined: of epoch {}, now {epoch}", grant.epoch),
        (None, Some(end)) => format!("until {end}"),
        (None, None) => "open".to_owned(),
    }
}
