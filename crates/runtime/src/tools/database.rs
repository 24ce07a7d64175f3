//! Runs one statement on the token's database, in a session of its own and in one transaction.
//!
//! What came of it follows from the transaction: committed is succeeded; an error, a time-out or a cut
//! before `COMMIT` was sent is failed, since nothing of it stays; a `COMMIT` whose answer is lost is
//! unknown. Neither the address nor the password is ever part of a text here.

mod postgres;
mod rows;
mod sqlite;

use lar_core::action::DatabaseAction;
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::scope::DatabaseScope;
use lar_core::scope::database::Engine;

use super::Job;
use rows::Answer;

/// How a statement ended, when it did not succeed.
enum Failure {
    /// There was no session to run it in.
    NeverBegan(String),
    /// It certainly left nothing behind; the text is for the model.
    RolledBack { reason: &'static str, text: String },
    /// `COMMIT` was sent and not answered.
    Unknown,
}

impl Job<'_> {
    pub(super) async fn database(
        &self,
        scope: &DatabaseScope,
        action: &DatabaseAction,
    ) -> Performed {
        let answer = match scope.engine {
            Engine::Postgres => self.postgres(scope, action).await,
            Engine::Sqlite => self.sqlite(scope, action).await,
        };
        let redactor = self.tools.redactor();
        match answer {
            Ok(answer) => {
                let summary = answer.summary();
                // Redacted whole, so that a secret is found wherever a row is cut.
                let text = redactor.redact(&answer.into_json()).into_owned();
                Performed::Ended(Outcome::new(Verdict::Succeeded, summary, text))
            }
            Err(Failure::NeverBegan(reason)) => {
                Performed::NeverBegan { reason: redactor.redact(&reason).into_owned() }
            }
            Err(Failure::RolledBack { reason, text }) => {
                let text = redactor.redact(&text).into_owned();
                let summary = "the statement was rolled back";
                Performed::Ended(Outcome::new(Verdict::Failed, summary, text).because(reason))
            }
            Err(Failure::Unknown) => Performed::Ended(
                Outcome::new(Verdict::Unknown, "the answer to the commit was lost", "")
                    .because("commit"),
            ),
        }
    }
}
