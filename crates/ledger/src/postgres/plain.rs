//! The short way of what is plain: starts without a hold, outcomes at their fence, records and pages.

use std::collections::HashSet;

use lar_core::json::Digest;
use lar_core::ledger::Receipt;
use lar_core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::item::{Answer, Columns, Item, Step};
use super::row;
use super::session::Sessions;
use super::trouble::Trouble;

const COMMIT_ONE: &str = "SELECT lar.commit_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS answer";
const COMMIT_SOME: &str = "SELECT * FROM lar.commit_some($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

/// Makes what is plain and that nothing speaks against, one item a run, in one transaction, and answers in the order of the
/// items. What has no answer was not made: `lar.commit` makes it, or says why not. After an error nothing was
/// made, or it isn't known.
pub(super) async fn ask(
    sessions: &Sessions,
    items: &[&Item],
) -> Result<Vec<Option<Answer>>, Trouble> {
    let mut answers: Vec<Option<Answer>> = items.iter().map(|_| None).collect();
    let mut runs = HashSet::new();
    // One a run: what it is chained to is read before any of them is made.
    let (places, plain): (Vec<usize>, Vec<&Item>) = items
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, item)| is_plain(item) && runs.insert(item.run.as_str()))
        .unzip();
    let mut answered = Vec::new();
    match plain.as_slice() {
        [] => {}
        [item] => {
            let rows = alone(sessions, item).await?;
            let row = rows.first().ok_or_else(unclear)?;
            let answer = row::get::<Option<&[u8]>>(row, "answer").map_err(|_| unclear())?;
            if let Some(answer) = answer {
                answered.push((0, made(item, answer).ok_or_else(unclear)?));
            }
        }
        many => {
            let columns = Columns::of(many, false);
            for row in sessions.change(COMMIT_SOME, &columns.plain()).await? {
                let (place, answer) = one_of(many, &row).ok_or_else(unclear)?;
                answered.push((place, answer));
            }
        }
    }
    for (place, answer) in answered {
        if let Some(slot) = places.get(place).and_then(|place| answers.get_mut(*place)) {
            *slot = Some(answer);
        }
    }
    Ok(answers)
}

/// Which item a row is about, counted from 0, and what became of it.
fn one_of(items: &[&Item], row: &Row) -> Option<(usize, Answer)> {
    let place = usize::try_from(row::number(row, "item").ok()?.checked_sub(1)?).ok()?;
    Some((place, made(items.get(place)?, row::get(row, "answer").ok()?)?))
}

/// An answer that can't be read says nothing: what it is about may have been made.
fn unclear() -> Trouble {
    Trouble::Lost(row::unreadable().to_string())
}

fn is_plain(item: &Item) -> bool {
    let plain = |step: &Step| match step.transition {
        "start" => step.held.is_none(),
        other => other == "finish",
    };
    item.fence.is_some() && item.unlock.is_none() && item.change.as_ref().is_none_or(plain)
}

async fn alone(sessions: &Sessions, item: &Item) -> Result<Vec<Row>, Trouble> {
    let step = item.change.as_ref();
    let [a, b, c, d] =
        [0, 1, 2, 3].map(|place| item.pieces.as_ref()?.get(place).map(String::as_str));
    let parameters: [&(dyn ToSql + Sync); 15] = [
        &item.run.as_str(),
        &item.fence,
        &item.nonce.as_slice(),
        &step.map(|step| step.transition),
        &step.map(|step| step.attempt.as_slice()),
        &step.map(|step| step.token.as_str()),
        &step.map(|step| step.action.as_slice()),
        &step.and_then(|step| step.held),
        &step.and_then(|step| step.verdict),
        &a,
        &b,
        &c,
        &d,
        &item.openings,
        &item.page,
    ];
    sessions.change(COMMIT_ONE, &parameters).await
}

/// Takes an answer apart: three numbers and a hash.
fn made(item: &Item, answer: &[u8]) -> Option<Answer> {
    let (seq, rest) = answer.split_first_chunk::<8>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (left, hash) = rest.split_first_chunk::<8>()?;
    let number = |bytes: &[u8; 8]| u64::try_from(i64::from_be_bytes(*bytes)).ok();
    let fence = item.change.as_ref().map_or(0, |step| step.held.unwrap_or(1));
    Some(Answer::Made(Receipt {
        seq: number(seq)?,
        hash: Digest::from_bytes(<[u8; 32]>::try_from(hash).ok()?),
        timestamp: Timestamp::from_millis(i64::from_be_bytes(*at)),
        fence: u64::try_from(fence).ok()?,
        uses_left: u32::try_from(number(left)?).ok()?,
        approved_until: None,
    }))
}
