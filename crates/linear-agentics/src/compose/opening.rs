//! The first record of a run, and how the ledger takes it.

use lar_core::audit::record::{Body, RunOpen, TokenLine};
use lar_core::display::first_chars;
use lar_core::id::RunId;
use lar_core::json::{Digest, JsonRefusal};
use lar_core::ledger::{Definitions, GrantId, LedgerError, Opening, Source};
use lar_core::token::Token;
use lar_runtime::recover;

use super::{ComposeError, Prepared, people};
use crate::grant::{GrantChoice, difference, granted, pinned};

impl Prepared {
    /// Opens the run in the ledger; where a grant doesn't fit, says in what.
    pub(super) async fn draw(
        &self,
        opening: Opening,
    ) -> Result<lar_core::ledger::Opened, ComposeError> {
        let here = match &opening.source {
            Source::Own { definitions, .. } | Source::Named { definitions, .. } => {
                definitions.clone()
            }
        };
        let grant = match &opening.source {
            Source::Own { .. } => GrantId::of_run(&opening.run),
            Source::Named { grant, .. } => grant.clone(),
        };
        match self.ledger.open_run(opening).await {
            Ok(opened) => Ok(opened),
            Err(error) => Err(self.explain(error, &grant, &here).await),
        }
    }

    /// Where definitions differ, says in what.
    pub(super) async fn explain(
        &self,
        error: LedgerError,
        grant: &GrantId,
        here: &Definitions,
    ) -> ComposeError {
        if !matches!(error, LedgerError::OtherDefinitions(_)) {
            return error.into();
        }
        match self.ledger.grant(grant).await {
            Ok(Some(found)) => ComposeError::OtherDefinitions {
                grant: grant.to_string(),
                lines: difference(&found.definitions, here),
            },
            _ => error.into(),
        }
    }

    /// What the run pins.
    pub(super) fn pinned(&self) -> Result<Definitions, JsonRefusal> {
        let all = self.capabilities.tokens();
        let (tier, witnessing) = (self.min_tier, self.witnessing.as_ref());
        pinned(&all, &self.candidates, &self.approvals, self.max_requests, tier, witnessing)
    }

    /// The first record of the run, and what the ledger keeps of its tokens.
    pub(super) fn opening(
        &self,
        run: &RunId,
        model: &str,
        task: &str,
        enforcement: &str,
        binary: Option<Digest>,
    ) -> Result<Opening, JsonRefusal> {
        // What the set has spent before is not granted again; a named grant was issued as declared.
        let left = |token: &Token| match self.grant {
            Some(_) => token.max_uses(),
            None => self.capabilities.uses_left(token.name()).unwrap_or(0),
        };
        let all = self.capabilities.tokens();
        let tokens: Vec<&Token> = all.iter().filter(|token| left(token) > 0).collect();
        let lines = tokens.iter().map(|token| TokenLine::of(token, left(token)));
        let definitions = self.pinned()?;
        let source = match &self.grant {
            Some(GrantChoice { id, ledger }) => {
                Source::Named { grant: id.clone(), ledger: ledger.clone(), definitions }
            }
            None => {
                let mut tokens = granted(&all, &self.candidates)?;
                for token in tokens.iter_mut().filter(|token| !token.candidate) {
                    token.uses = self.capabilities.uses_left(&token.name).unwrap_or(0);
                }
                tokens.retain(|token| token.uses > 0);
                Source::Own { tokens, definitions }
            }
        };
        Ok(Opening {
            run: run.clone(),
            owner: recover::owner(),
            lease_ms: recover::LEASE_MS,
            source,
            record: Body::RunOpen(RunOpen {
                model: first_chars(model, 200).to_owned(),
                task: first_chars(&self.redactor.redact(task), 1_000).to_owned(),
                runtime: env!("CARGO_PKG_VERSION").to_owned(),
                binary,
                manifest: self.manifest,
                grant: self.grant.as_ref().map(|grant| grant.id.clone()),
                budget: serde_json::to_value(self.budget).unwrap_or_default(),
                tokens: lines.collect::<Result<_, JsonRefusal>>()?,
                enforcement: enforcement.to_owned(),
                approvals: people::policies(all.iter().chain(&self.candidates)),
                runner: self.runner.clone(),
            }),
            openings: Vec::new(),
            journal: None,
        })
    }
}
