//! Grants: issuing one from a manifest, and what a run must agree with to draw from it.

use std::collections::BTreeMap;

use lar_core::json::JsonRefusal;
use lar_core::ledger::{Definitions, Grant, GrantId, Granted, Identity, Issuing, LedgerId};
use lar_core::set::CapabilitySet;
use lar_core::time::Timestamp;
use lar_core::token::Token;
use lar_runtime::confine::Tier;
use lar_runtime::tools::{Accounts, Operator, Programs};
use lar_runtime::witness::Witnessing;
use serde::Serialize;
use serde_json::Value;

use crate::compose::ComposeError;
use crate::options::{Approvals, RunOptions};
use crate::place::opened;
use crate::walls::least_tier;

/// The most lines of a difference that are shown.
const LINES: usize = 20;

/// The named grant that a run draws from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantChoice {
    /// Its name.
    pub id: GrantId,
    /// The ledger in which it was issued, when that is known.
    pub ledger: Option<LedgerId>,
}

/// Creates the named grant of these options, with the tokens as a run would have them: a
/// deployment's cluster is fixed here. The only way in which a named grant comes into being.
pub async fn issue(
    mut options: RunOptions,
    expires: Option<Timestamp>,
) -> Result<(Identity, Grant), ComposeError> {
    let choice = options.grant.take().ok_or(ComposeError::NoGrant)?;
    let min_tier = least_tier(&options);
    let programs = options.programs.take().unwrap_or_else(Programs::from_environment);
    let declared: Vec<Token> = options.tokens.iter().chain(&options.candidates).cloned().collect();
    let accounts = Accounts::find(&declared, &programs, &Operator::from_environment()).await?;
    let set = CapabilitySet::new(options.tokens.into_iter().map(|token| accounts.pin(token)))?;
    set.mark_reported();
    let candidates: Vec<Token> =
        options.candidates.into_iter().map(|token| accounts.pin(token)).collect();
    let ledger = opened(&options.ledger).await?;
    let identity = ledger.identity().await?;
    if let Some(wanted) = choice.ledger.filter(|wanted| *wanted != identity.ledger) {
        let (wanted, found) = (wanted.to_string(), identity.ledger.to_string());
        return Err(lar_core::ledger::LedgerError::OtherLedger { wanted, found }.into());
    }
    let tokens = set.tokens();
    let issuing = Issuing {
        grant: choice.id,
        definitions: pinned(
            &tokens,
            &candidates,
            &options.approvals,
            options.max_requests,
            min_tier,
            options.witnessing.as_ref(),
        )?,
        tokens: granted(&tokens, &candidates)?,
        expires,
    };
    Ok((identity, ledger.issue(issuing).await?))
}

/// What the ledger keeps of tokens: those of the set, and the candidates with their ways back, which
/// are locked until a person unlocks one.
pub(crate) fn granted(tokens: &[Token], candidates: &[Token]) -> Result<Vec<Granted>, JsonRefusal> {
    let mut granted = tokens.iter().map(Granted::of).collect::<Result<Vec<_>, _>>()?;
    for candidate in candidates {
        for token in [Some(candidate.clone()), candidate.rollback()].into_iter().flatten() {
            granted.push(Granted::candidate(&token)?);
        }
    }
    Ok(granted)
}

/// Everything that a grant pins: what may be done, who must be asked, and behind what walls. Not the values of secrets,
/// and not which file a program is, which each attempt records.
pub(crate) fn pinned(
    tokens: &[Token],
    candidates: &[Token],
    approvals: &Approvals,
    max_requests: u32,
    min_tier: Tier,
    witnessing: Option<&Witnessing>,
) -> Result<Definitions, JsonRefusal> {
    #[derive(Serialize)]
    struct Pinned<'a> {
        tokens: BTreeMap<&'a str, &'a Token>,
        candidates: BTreeMap<&'a str, &'a Token>,
        approval: BTreeMap<&'a str, Value>,
        negotiation: BTreeMap<&'a str, u32>,
        confinement: BTreeMap<&'a str, String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        witnessing: Option<Value>,
    }
    let how = match approvals {
        Approvals::Terminal { patience } => ("terminal", millis(*patience)),
        Approvals::Gate(gate) => ("gate", millis(gate.patience())),
    };
    Definitions::of(&Pinned {
        tokens: tokens.iter().map(|token| (token.name(), token)).collect(),
        candidates: candidates.iter().map(|token| (token.name(), token)).collect(),
        approval: BTreeMap::from([("by", Value::from(how.0)), ("timeout_ms", Value::from(how.1))]),
        negotiation: BTreeMap::from([("max_requests", max_requests)]),
        confinement: BTreeMap::from([("min_tier", format!("{min_tier:?}"))]),
        // Whose word counts, not where they are reached.
        witnessing: witnessing.map(|witnessing| {
            let keys = witnessing.witnesses.iter().map(|witness| &witness.key);
            serde_json::json!({"keys": keys.collect::<Vec<_>>(), "required": witnessing.required})
        }),
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where two definitions differ, one line a place, at most 20.
pub fn difference(granted: &Definitions, here: &Definitions) -> Vec<String> {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let mut lines = Vec::new();
    compare(&read(granted.as_str()), &read(here.as_str()), "", &mut lines);
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn compare(granted: &Value, here: &Value, place: &str, lines: &mut Vec<String>) {
    let below =
        |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (granted, here) {
        (Value::Object(granted), Value::Object(here)) => {
            for (key, value) in granted {
                match here.get(key) {
                    Some(other) => compare(value, other, &below(key), lines),
                    None => lines.push(format!("`{}` is in the grant and not here", below(key))),
                }
            }
            for key in here.keys().filter(|key| !granted.contains_key(*key)) {
                lines.push(format!("`{}` is here and not in the grant", below(key)));
            }
        }
        (granted, here) if granted == here => {}
        (granted, here) => lines.push(format!(
            "`{place}` is {} in the grant and {} here",
            short(granted),
            short(here)
        )),
    }
}

fn short(value: &Value) -> String {
    lar_core::display::clip(&value.to_string(), 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_place_and_both_values() {
        let granted = Definitions::from_text(r#"{"t":{"a":{"uses":1,"gone":true},"b":1}}"#);
        let here = Definitions::from_text(r#"{"t":{"a":{"uses":2,"new":[1]},"b":1}}"#);
        assert_eq!(
            difference(&granted, &here),
            [
                "`t.a.uses` is 1 in the grant and 2 here",
                "`t.a.gone` is in the grant and not here",
                "`t.a.new` is here and not in the grant",
            ]
        );
        assert!(difference(&here, &here).is_empty());
    }
}
