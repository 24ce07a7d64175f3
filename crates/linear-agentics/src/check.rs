//! Whether a run's records in a ledger hold: everything that a bundle's verifier checks, and that the
//! ledger says the same of the run.

use lar_core::audit::policy::Policy;
use lar_core::audit::trail::RunLine;
use lar_core::audit::tree::leaf_hash;
use lar_core::audit::verify::{Finding, Line, Report, Verifier};
use lar_core::ledger::{Ledger, LedgerError, RunSummary};

use crate::export::{Incomplete, bundle};

/// How many records are read at once.
const PAGE: u64 = 512;

/// Checks a run. `summary` is what the ledger said of it before.
///
/// # Errors
/// When the ledger doesn't answer. What is wrong with its content stands in the report.
pub async fn check_run(
    ledger: &dyn Ledger,
    summary: &RunSummary,
    policy: &Policy,
) -> Result<Report, LedgerError> {
    let mut report = match with_log(ledger, summary, policy).await? {
        Some(report) if report.integrity.is_ok() && report.records < summary.records => {
            behind(without_log(ledger, summary, policy).await?, report.records)
        }
        Some(report) => report,
        None => behind(without_log(ledger, summary, policy).await?, 0),
    };
    if report.integrity.is_ok()
        && let Some((at, reason)) = disagreement(ledger, summary, &report).await?
    {
        report.integrity = Finding::Broken { at: Some(at), reason };
    }
    Ok(report)
}

/// Checks the run of a trail that somebody holds: everything that [`check_run`] checks, and that the
/// records are those which the trail was read from.
///
/// # Errors
/// When the ledger doesn't answer. What is wrong with its content stands in the report.
pub async fn check_trail(
    ledger: &dyn Ledger,
    held: &RunLine,
    policy: &Policy,
) -> Result<Report, LedgerError> {
    let runs = ledger.runs().await?;
    let Some(summary) = runs.iter().find(|summary| summary.run == held.id) else {
        let mut verifier = Verifier::of_records(policy);
        verifier.refuse(1, "the ledger has no such run any more");
        let mut report = verifier.finish();
        report.run = Some(held.id.to_string());
        return Ok(report);
    };
    let mut report = check_run(ledger, summary, policy).await?;
    report.run = Some(held.id.to_string());
    if report.integrity.is_ok() {
        // The run may have got further since; what there was then must be there yet.
        let last = ledger.records(&held.id, held.records, 1).await?;
        if last.first().is_none_or(|record| record.seq != held.records || record.hash != held.head)
        {
            let reason = format!(
                "it is not that of this trail, which ended here with the head {}",
                held.head
            );
            report.integrity = Finding::Broken { at: Some(held.records), reason };
        }
    }
    Ok(report)
}

/// What is broken about a run, in words.
///
/// # Errors
/// When the ledger doesn't answer.
pub async fn flaw_of(
    ledger: &dyn Ledger,
    summary: &RunSummary,
) -> Result<Option<String>, LedgerError> {
    let report = check_run(ledger, summary, &Policy::default()).await?;
    let broken = [&report.integrity, &report.completeness].into_iter().find(|f| f.is_broken());
    Ok(broken.map(ToString::to_string))
}

/// The records with their place in the signed log; `None` where the ledger has none.
async fn with_log(
    ledger: &dyn Ledger,
    summary: &RunSummary,
    policy: &Policy,
) -> Result<Option<Report>, LedgerError> {
    let mut verifier: Option<Verifier<'_>> = None;
    let read = bundle(ledger, &summary.run, |line| {
        match &mut verifier {
            Some(verifier) => verifier.accept(&Line::read(line)),
            None => verifier = Some(Verifier::of_bundle(policy, line)),
        }
        Ok(())
    });
    match read.await {
        Ok(_) => {}
        Err(Incomplete::NoLog) => return Ok(None),
        // Nothing of it is in the log yet, or its records are gone: the chain tells which.
        Err(Incomplete::NotIntegrated(_)) if verifier.is_none() => return Ok(None),
        Err(Incomplete::Ledger(error @ LedgerError::Unavailable(_))) => return Err(error),
        Err(Incomplete::Ledger(LedgerError::Damaged(why))) => {
            let verifier = verifier.get_or_insert_with(|| Verifier::of_records(policy));
            verifier.refuse(verifier.records() + 1, &why);
        }
        Err(other) => {
            let verifier = verifier.get_or_insert_with(|| Verifier::of_records(policy));
            verifier.refuse(verifier.records() + 1, &other.to_string());
        }
    }
    Ok(verifier.map(Verifier::finish))
}

/// What is known of a run of whose records only the first `logged` are in the signed log: all are there
/// and hold together, but for the others nobody has signed yet.
fn behind(mut report: Report, logged: u64) -> Report {
    let reason = match logged {
        0 => "none of its records is in the signed log yet".to_owned(),
        logged => {
            format!("the records from number {} on are not in the signed log yet", logged + 1)
        }
    };
    report.authenticity = Finding::Absent { reason: reason.clone() };
    report.witnessing = Finding::Absent { reason };
    report
}

async fn without_log(
    ledger: &dyn Ledger,
    summary: &RunSummary,
    policy: &Policy,
) -> Result<Report, LedgerError> {
    let mut verifier = Verifier::of_records(policy);
    let mut next = 1;
    loop {
        let page = match ledger.records(&summary.run, next, PAGE).await {
            Ok(page) => page,
            Err(LedgerError::Damaged(why)) => {
                verifier.refuse(verifier.records() + 1, &why);
                break;
            }
            Err(error) => return Err(error),
        };
        for record in &page {
            verifier.accept(&Line::read(&record.bytes));
            for opening in &record.openings {
                verifier.accept(&Line::read(opening.line().as_bytes()));
            }
            if leaf_hash(&record.bytes) != record.hash {
                verifier.refuse(verifier.records(), "its stored digest isn't that of its bytes");
            }
            next = next.max(record.seq.saturating_add(1));
        }
        if (page.len() as u64) < PAGE {
            break;
        }
    }
    Ok(verifier.finish())
}

/// Where the ledger says otherwise about the run than its records do.
async fn disagreement(
    ledger: &dyn Ledger,
    summary: &RunSummary,
    report: &Report,
) -> Result<Option<(u64, String)>, LedgerError> {
    if report.run.as_deref() != Some(summary.run.as_str()) {
        return Ok(Some((1, "it belongs to another run".to_owned())));
    }
    if report.records < summary.records {
        let reason = format!("it is missing: the ledger counts {} records", summary.records);
        return Ok(Some((report.records + 1, reason)));
    }
    // A run that is going on may have got further since it was listed.
    let agrees = |now: &RunSummary| {
        report.records == now.records
            && report.head == Some(now.head)
            && report.stop_reason == now.stop_reason
    };
    if agrees(summary) {
        return Ok(None);
    }
    let runs = ledger.runs().await?;
    let Some(now) = runs.iter().find(|run| run.run == summary.run) else {
        return Ok(Some((1, "the ledger has no such run any more".to_owned())));
    };
    if agrees(now) || report.records < now.records && report.stop_reason.is_none() {
        return Ok(None);
    }
    if report.records > now.records {
        let reason = format!("the ledger counts only {} records", now.records);
        return Ok(Some((now.records + 1, reason)));
    }
    if report.records == now.records && report.head != Some(now.head) {
        let reason = "the ledger names another one as the run's last".to_owned();
        return Ok(Some((report.records, reason)));
    }
    if report.stop_reason == now.stop_reason {
        return Ok(None);
    }
    Ok(Some((report.records, "the ledger says otherwise about the end of the run".to_owned())))
}
