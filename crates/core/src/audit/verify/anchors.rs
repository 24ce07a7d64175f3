//! Spends that witnesses must have seen before their effect: each intent of such a token is followed by an
//! `anchor`, a cosigned checkpoint that holds it, before its outcome.
//!
//! That there is one is the records' own business. Who cosigned it, and whether it is of this log, is told
//! by the policy's keys and the tree, and stands in the verdict on witnessing.

use std::collections::{HashMap, HashSet};

use super::Finding;
use super::accounts::granted;
use super::line::Fields;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{Note, Signed};
use crate::audit::policy::Policy;
use crate::audit::record::{Anchor, RunOpen};
use crate::audit::scan;
use crate::audit::tree::Frontier;
use crate::json::Digest;

/// What is kept of it: the tokens, and the spends that are open.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// The tokens whose spends must be seen.
    tokens: HashSet<String>,
    /// Spends of them without an anchor yet, by attempt: the intent's record, and the size of the tree
    /// with it.
    unseen: HashMap<String, (u64, u64)>,
    /// The roots at every size that the lines end at since the first of these spends. It is empty
    /// whenever no spend waits.
    roots: Vec<(u64, Digest)>,
    finding: Option<Finding>,
}

/// What an anchor is judged by.
pub(super) struct Known<'a> {
    pub(super) policy: &'a Policy,
    /// The log that the bundle's checkpoint is of; `None` for bare records.
    pub(super) log: Option<&'a str>,
    pub(super) tree: &'a Frontier,
}

impl Anchors {
    /// Takes the run's first record.
    pub(super) fn open(&mut self, open: &RunOpen) {
        let demanding = open.tokens.iter().filter(|token| token.witness.is_some());
        self.tokens = demanding.map(|token| token.name.clone()).collect();
    }

    /// The tree has got further.
    pub(super) fn passed(&mut self, tree: &Frontier) {
        if !self.unseen.is_empty() {
            self.roots.push((tree.size(), tree.root()));
        }
    }

    /// Takes a record that isn't the first. An error is one of the record itself.
    pub(super) fn record(
        &mut self,
        seq: u64,
        kind: &str,
        fields: &Fields<'_>,
        bytes: &[u8],
        known: &Known<'_>,
    ) -> Result<(), String> {
        let attempt = || fields.attempt().and_then(scan::plain).unwrap_or_default();
        match kind {
            "intent" => {
                let token = fields.token_name().and_then(scan::plain).unwrap_or_default();
                if self.tokens.contains(token) {
                    self.unseen.insert(attempt().to_owned(), (seq, known.tree.size()));
                    self.passed(known.tree);
                }
            }
            "negotiation" => {
                let granted = granted(bytes)?.into_iter().filter(|line| line.witness.is_some());
                self.tokens.extend(granted.map(|line| line.name));
            }
            "anchor" => {
                let anchor: Anchor = serde_json::from_slice(bytes)
                    .map_err(|_| "it doesn't say what was cosigned")?;
                let Some((intent, size)) = self.unseen.remove(attempt()) else {
                    return Err("it is the anchor of no spend that waits for one".to_owned());
                };
                if anchor.intent_seq != intent {
                    return Err(format!("it names record {} as the intent", anchor.intent_seq));
                }
                if let Err(finding) = self.judge(seq, &anchor, size, known) {
                    self.keep(finding);
                }
                self.rest();
            }
            "outcome" => {
                let unseen = self.unseen.remove(attempt()).is_some();
                self.rest();
                // Absent when nothing ever began.
                if unseen && fields.outcome().is_some() {
                    return Err(
                        "its effect came before the witnesses had seen the spend, which the token \
                         demands"
                            .to_owned(),
                    );
                }
            }
            // Whoever recovered it doesn't know whether it began.
            "recovery" => {
                self.unseen.remove(attempt());
                self.rest();
            }
            _ => {}
        }
        Ok(())
    }

    fn rest(&mut self) {
        if self.unseen.is_empty() {
            self.roots.clear();
        }
    }

    /// Whether the anchor in record `seq` is of this log, holds the intent, and is cosigned by enough
    /// witnesses.
    fn judge(
        &self,
        seq: u64,
        anchor: &Anchor,
        with_intent: u64,
        known: &Known<'_>,
    ) -> Result<(), Finding> {
        let broken = |reason: &str| Finding::Broken { at: Some(seq), reason: reason.to_owned() };
        let Some(log) = known.log else { return Ok(()) };
        let note = Note::parse(&anchor.checkpoint)
            .map_err(|_| broken("what it says was cosigned is no signed note"))?;
        let checkpoint = Checkpoint::parse(note.text())
            .map_err(|_| broken("what it says was cosigned is no checkpoint"))?;
        if checkpoint.origin != log || checkpoint.size != anchor.size {
            return Err(broken("the cosigned checkpoint is another than it says"));
        }
        if checkpoint.size < with_intent {
            return Err(broken("the cosigned checkpoint doesn't hold the intent"));
        }
        match self.roots.iter().find(|(size, _)| *size == checkpoint.size) {
            Some((_, root)) if *root == checkpoint.root => {}
            Some(_) => return Err(broken("the cosigned checkpoint is of another history")),
            None => return Err(broken("no line ends at the size that was cosigned")),
        }
        let mut cosigned = 0;
        for witness in &known.policy.witnesses {
            match witness.check(&note) {
                Signed::Valid { .. } => cosigned += 1,
                Signed::Broken => return Err(broken("a cosignature isn't that of its witness")),
                Signed::Absent => {}
            }
        }
        let required = known.policy.witnesses_required();
        if cosigned < required {
            let reason = format!(
                "{cosigned} of the {required} witnesses that are required saw the spend in record {}",
                anchor.intent_seq
            );
            return Err(Finding::Absent { reason });
        }
        Ok(())
    }

    /// The worst is kept, and of equals the first.
    fn keep(&mut self, finding: Finding) {
        if self.finding.is_none() || finding.is_broken() && !self.is_broken() {
            self.finding = Some(finding);
        }
    }

    fn is_broken(&self) -> bool {
        self.finding.as_ref().is_some_and(Finding::is_broken)
    }

    /// What is wrong with the anchors.
    pub(super) fn finding(&self) -> Option<Finding> {
        self.finding.clone()
    }
}
