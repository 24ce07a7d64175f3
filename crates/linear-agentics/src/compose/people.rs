//! Who may approve, and who starts the run, as the first record says it.

use lar_core::approval::{ApproverKey, Approvers, Runner};
use lar_core::audit::record::{ApprovalPolicy, Body, Record};
use lar_core::token::Token;
use lar_runtime::approval::account;

use super::ComposeError;
use crate::approvals::ssh::Agent;

/// Who starts the run, where a policy excludes them from approving: the account, the name that was
/// given, and whoever's key is in the ssh-agent of whoever starts it. Refused when none of that says
/// who it is.
pub(super) fn runner(
    approvers: &[Approvers],
    given: Option<&str>,
) -> Result<Option<Runner>, ComposeError> {
    let excluding: Vec<&Approvers> =
        approvers.iter().filter(|approvers| approvers.not_the_runner()).collect();
    if let Some(name) = given
        && (name.is_empty() || name.len() > 128 || name.chars().any(char::is_control))
    {
        return Err(ComposeError::BadRunner(lar_core::display::visible(name, 128)));
    }
    if excluding.is_empty() {
        return Ok(None);
    }
    let mut names: Vec<String> = given.map(str::to_owned).into_iter().collect();
    let keys: Vec<ApproverKey> =
        excluding.iter().flat_map(|approvers| approvers.keys()).cloned().collect();
    // Without an agent nothing is found out by it.
    if let Ok(held) = Agent::from_environment().and_then(|mut agent| {
        let held = agent.holds(&keys)?;
        Ok(held.into_iter().map(|key| key.principal().to_owned()).collect::<Vec<_>>())
    }) {
        names.extend(held);
    }
    names.sort();
    names.dedup();
    let runner = Runner { account: account(), names };
    let known = keys.iter().any(|key| runner.is(key.principal()));
    if given.is_none() && !known {
        return Err(ComposeError::UnknownRunner(runner.account));
    }
    Ok(Some(runner))
}

/// Who started a run and who went on with it.
pub(super) fn of_records(records: &[Record]) -> Vec<Runner> {
    let runner = |record: &Record| match &record.body {
        Body::RunOpen(open) => open.runner.clone(),
        Body::RunResume(resume) => resume.runner.clone(),
        _ => None,
    };
    records.iter().filter_map(runner).collect()
}

/// Who may approve the uses of which tokens, each list once.
pub(super) fn policies<'t>(tokens: impl Iterator<Item = &'t Token>) -> Vec<ApprovalPolicy> {
    let mut policies: Vec<ApprovalPolicy> = Vec::new();
    for token in tokens {
        let Some(approvers) = token.approvers() else { continue };
        let name = token.name().to_owned();
        match policies.iter_mut().find(|known| known.policy == *approvers) {
            Some(known) => known.tokens.push(name),
            None => policies.push(ApprovalPolicy { tokens: vec![name], policy: approvers.clone() }),
        }
    }
    policies
}
