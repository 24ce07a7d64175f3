//! What carries actions out. Each tool takes an action that was judged, approved and spent, and
//! says how it ended; none of them decides whether it may happen.

pub(crate) mod accounts;
mod capture;
mod child;
mod database;
mod deploy;
mod environment;
mod executable;
mod file;
mod http;
pub(crate) mod programs;
mod shell;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use lar_core::action::Action;
use lar_core::call::{Authorized, Spent};
use lar_core::error::Refusal;
use lar_core::id::{AttemptId, CallSite, Part};
use lar_core::json::Digest;
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::redact::Redactor;
use lar_core::scope::{Scope, SecretScope};
use lar_core::token::Token;
use secrecy::{ExposeSecret, SecretString};

use crate::confine::Walls;
use crate::kept::Kept;
use crate::secrets::Secrets;
use crate::stop::Stop;
use programs::Seen;

pub use accounts::{Accounts, Operator};
pub use deploy::{ClusterError, ROLLBACK_FAILED, ROLLOUT_FAILED, TargetAnswer, ask_target};
pub use file::look;
pub use programs::{ProgramError, Programs};

/// Everything that the tools need.
pub struct Tools {
    programs: Programs,
    accounts: Accounts,
    secrets: Secrets,
    redactor: Arc<Redactor>,
    roots: file::Roots,
    walls: Walls,
    /// Where commands run whose token names no directory.
    workdir: PathBuf,
    /// Where outputs and long arguments are kept.
    kept: Option<Kept>,
}

impl Tools {
    /// Gets ready for a set of tokens: looks the programs up, opens the allowed directories.
    pub fn new(
        tokens: &[Token],
        programs: Programs,
        accounts: Accounts,
        secrets: Secrets,
        redactor: Arc<Redactor>,
        walls: Walls,
        workdir: PathBuf,
    ) -> Self {
        Self {
            programs,
            accounts,
            secrets,
            redactor,
            roots: file::Roots::open(tokens),
            walls,
            workdir,
            kept: None,
        }
    }

    /// Keeps outputs and long arguments there.
    #[must_use]
    pub fn keeping(mut self, kept: Option<Kept>) -> Self {
        self.kept = kept;
        self
    }

    /// Where outputs are kept.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// What stands around every child.
    pub fn walls(&self) -> &Walls {
        &self.walls
    }

    /// What takes secrets out of texts.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Looks where an action on a file leads, as [`look`] does, from the directories that were opened
    /// when the set was made. `None` when there is nothing to look at.
    pub(crate) fn looking(
        &self,
        authorized: &Authorized,
    ) -> Option<impl FnOnce() -> Result<Option<String>, Refusal> + Send + 'static> {
        let action = authorized.invocation().action();
        let Action::File(_) = action else { return None };
        let (roots, token, action) =
            (self.roots.clone(), authorized.token().clone(), action.clone());
        Some(move || roots.look(&token, &action))
    }

    /// Looks at the program that an action would start, before a person is asked about it.
    pub(crate) async fn program_of(&self, action: &Action) -> Option<Seen> {
        let name = action.program()?.to_owned();
        let workdir = workdir_of(action).map_or_else(|| self.workdir.clone(), PathBuf::from);
        let programs = self.programs.clone();
        let look = move || programs.look_at(&name, &workdir);
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Carries a spent action out. It always comes back with a word about how it ended. Where a program
    /// was `seen` when a person was asked, it is started only as that.
    pub(crate) async fn perform(
        &self,
        spent: &Spent,
        seen: Option<&Seen>,
        stop: &Stop,
    ) -> Performed {
        let started = Instant::now();
        let job = Job {
            tools: self,
            token: spent.token(),
            attempt: spent.invocation().attempt().to_string(),
            call: AttemptId::at(&CallSite {
                part: Part::Call,
                ..spent.invocation().site().clone()
            })
            .to_string(),
            stop,
            seen,
            injected: None,
        };
        let scope = spent.token().scope();
        if let Some(kept) = &self.kept {
            for text in spent.invocation().action().long_texts() {
                kept.keep(text);
            }
        }
        let performed = job.act(scope, spent.invocation().action()).await;
        match performed {
            Performed::Ended(mut outcome) => {
                // What isn't taken in piece by piece is its whole output.
                if let Some(kept) = &self.kept
                    && Digest::of(outcome.output.as_bytes()) == outcome.output_digest
                {
                    kept.keep(&outcome.output);
                }
                outcome.duration_ms =
                    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                Performed::Ended(outcome)
            }
            never => never,
        }
    }
}

/// The directory that an action names.
fn workdir_of(action: &Action) -> Option<&str> {
    match action {
        Action::Shell(shell) => shell.workdir.as_deref(),
        Action::Secret(secret) => workdir_of(&secret.inner),
        _ => None,
    }
}

/// One action on its way.
struct Job<'a> {
    tools: &'a Tools,
    token: &'a Token,
    /// Goes to the target as an idempotency key where it takes one.
    attempt: String,
    /// The attempt of the call that this one is a part of: of a way back, the deployment's.
    call: String,
    stop: &'a Stop,
    /// The program as it was when a person was asked, where one was.
    seen: Option<&'a Seen>,
    /// A secret that goes in at the last moment.
    injected: Option<Injected<'a>>,
}

struct Injected<'a> {
    scope: &'a SecretScope,
    value: SecretString,
}

impl Job<'_> {
    async fn act(&self, scope: &Scope, action: &Action) -> Performed {
        match (scope, action) {
            (Scope::Shell(scope), Action::Shell(action)) => self.shell(scope, action).await,
            (Scope::Http(scope), Action::Http(action)) => self.http(scope, action).await,
            (Scope::File(scope), Action::File(action)) => self.file(scope, action).await,
            (Scope::Database(scope), Action::Database(action)) => {
                self.database(scope, action).await
            }
            (Scope::Deploy(scope), Action::Deploy(action))
            | (Scope::Rollback(scope), Action::Rollback(action)) => {
                self.deploy(scope, action).await
            }
            (Scope::Wait(_), Action::Wait(action)) => self.wait(action).await,
            (Scope::Secret(scope), Action::Secret(action)) => {
                let Some(secret) = self.tools.secrets.get(self.token.name()) else {
                    return Performed::NeverBegan {
                        reason: "the secret is not at hand".to_owned(),
                    };
                };
                let value = scope.format.replace("{secret}", secret.expose_secret());
                let inner = Job {
                    tools: self.tools,
                    token: self.token,
                    attempt: self.attempt.clone(),
                    call: self.call.clone(),
                    stop: self.stop,
                    seen: self.seen,
                    injected: Some(Injected { scope, value: SecretString::from(value) }),
                };
                Box::pin(inner.act(&scope.inner, &action.inner)).await
            }
            // The scope was judged against this very action, so the kinds agree; were they not to,
            // nothing is done.
            _ => Performed::Ended(Outcome::new(
                Verdict::Failed,
                "the action is of another kind than its scope",
                "",
            )),
        }
    }
}
