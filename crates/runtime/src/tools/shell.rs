//! Runs a command of a shell token. There is no shell.

use std::path::PathBuf;

use lar_core::action::ShellAction;
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::scope::{Injection, ShellScope};
use secrecy::ExposeSecret;

use super::child::{End, How, Order, Ran};
use super::{Job, environment};

impl Job<'_> {
    pub(super) async fn shell(&self, scope: &ShellScope, action: &ShellAction) -> Performed {
        let mut env = environment::of(&self.tools.programs.path(), &action.env);
        let profiles = scope.commands.profiles_of(&action.command);
        environment::make_safe(&mut env, &profiles, &action.env);
        if let Some(injected) = &self.injected
            && let Injection::Env(name) = &injected.scope.injection
        {
            env.retain(|(held, _)| held.to_str() != Some(name));
            env.push((name.into(), injected.value.expose_secret().into()));
        }
        let ran = self
            .run(Order {
                argv: action.command.argv().to_vec(),
                env,
                workdir: match &action.workdir {
                    Some(workdir) => PathBuf::from(workdir),
                    None => self.tools.workdir.clone(),
                },
                timeout: scope.timeout,
            })
            .await;
        match ran {
            Ran::NeverBegan(reason) => Performed::NeverBegan { reason },
            Ran::Ended(end) => Performed::Ended(outcome(*end)),
        }
    }
}

/// What a program's end means.
pub(super) fn outcome(end: End) -> Outcome {
    let (verdict, word, reason) = match end.how {
        How::Exited(0) => (Verdict::Succeeded, "exit 0".to_owned(), None),
        How::Exited(code) => {
            (Verdict::Failed, format!("exit {code}"), Some(format!("exit {code}")))
        }
        How::Signaled(signal) => {
            let word = format!("ended by signal {signal}");
            (Verdict::Unknown, word.clone(), Some(word))
        }
        How::Killed(why) => {
            let word = format!("killed with all that it started ({why})");
            (Verdict::Unknown, word, Some(why.to_owned()))
        }
        How::Lost => {
            let word = "the confinement helper was lost".to_owned();
            (Verdict::Unknown, word, Some("helper lost".to_owned()))
        }
    };
    let summary = match end.stderr.bytes {
        0 => format!("{word}, {} bytes", end.stdout.bytes),
        errors => format!("{word}, {} bytes, {errors} bytes on stderr", end.stdout.bytes),
    };
    let mut text = end.stdout.text;
    if end.stderr.bytes > 0 {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("[stderr]\n");
        text.push_str(&end.stderr.text);
    }
    let mut outcome = Outcome::new(verdict, summary, text);
    outcome.reason = reason;
    outcome.exit_code = match end.how {
        How::Exited(code) => Some(code),
        How::Signaled(_) | How::Killed(_) | How::Lost => None,
    };
    outcome.output_digest = end.stdout.digest;
    outcome.output_bytes = end.stdout.bytes;
    outcome.stderr_digest = (end.stderr.bytes > 0).then_some(end.stderr.digest);
    outcome.program = Some(end.program);
    outcome
}
