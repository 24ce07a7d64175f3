//! Signed approvals as files that OpenSSH itself can check: `ssh-keygen -Y verify`.

use std::collections::BTreeSet;

use lar_core::approval::{ApproverKey, NAMESPACE, Statement};
use lar_core::audit::AuditTrail;

/// The name of the file with the keys.
const SIGNERS: &str = "allowed_signers";

/// The files of a run's signed approvals, each with its name and its exact content: the keys that the run
/// listed, each statement and its signature, and a script that has OpenSSH check them all. Empty when
/// nothing was signed.
pub fn sshsig(trail: &AuditTrail) -> Vec<(String, String)> {
    let policies = trail.run.open.approvals.iter();
    let keys: Vec<&ApproverKey> = policies.flat_map(|policy| policy.policy.keys()).collect();
    let lines: BTreeSet<String> = keys.iter().filter_map(|key| signer(key)).collect();
    let mut files = Vec::new();
    let mut script =
        String::from("#!/bin/sh\n# Has OpenSSH check each statement by its signature.\nset -e\n");
    for approval in &trail.approvals {
        for (place, signed) in (1..).zip(&approval.approval.statements) {
            let name = format!("record-{}-{place}.json", approval.seq);
            // Only a listed name goes into the script: it holds no quote and no backslash.
            let said = Statement::read(&signed.statement).map(|statement| statement.approver);
            let listed = |said: &String| keys.iter().any(|key| key.principal() == said.as_str());
            let person = said.ok().filter(listed).unwrap_or_else(|| "nobody".to_owned());
            script.push_str(&format!(
                "ssh-keygen -Y verify -f {SIGNERS} -I '{person}' -n {NAMESPACE} -s {name}.sig < {name}\n"
            ));
            files.push((format!("{name}.sig"), signed.signature.clone()));
            files.push((name, signed.statement.clone()));
        }
    }
    if files.is_empty() {
        return files;
    }
    files.push((SIGNERS.to_owned(), lines.into_iter().collect()));
    files.push(("verify.sh".to_owned(), script));
    files
}

/// A line of a file of allowed signers, good for approvals alone.
fn signer(key: &ApproverKey) -> Option<String> {
    let line = key.to_string();
    let (name, key) = line.split_once(' ')?;
    Some(format!("{name} namespaces=\"{NAMESPACE}\" {key}\n"))
}
