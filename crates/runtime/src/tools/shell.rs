//! Runs a command of a shell token. There is no shell.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use lar_core::action::ShellAction;
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::scope::profile::Profile;
use lar_core::scope::{Injection, Reach, ShellScope};
use secrecy::ExposeSecret;

use super::child::{End, How, Order, Ran};
use super::deploy::{Place, context_in};
use super::{Job, environment};
use crate::confine::Surroundings;

impl Job<'_> {
    pub(super) async fn shell(&self, scope: &ShellScope, action: &ShellAction) -> Performed {
        let mut env = environment::of(&self.tools.programs.path(), &action.env);
        let profiles = scope.commands.profiles_of(&action.command);
        environment::make_safe(&mut env, &profiles, &scope.env);
        if let Some(injected) = &self.injected
            && let Injection::Env(name) = &injected.scope.injection
        {
            env.retain(|(held, _)| held.to_str() != Some(name));
            env.push((name.into(), injected.value.expose_secret().into()));
        }
        let (around, place) = match self.surroundings(scope, action, &profiles, &mut env) {
            Ok(found) => found,
            Err(reason) => return Performed::NeverBegan { reason },
        };
        let ran = self
            .run(Order {
                argv: action.command.argv().to_vec(),
                env,
                workdir: match &action.workdir {
                    Some(workdir) => PathBuf::from(workdir),
                    None => self.tools.workdir.clone(),
                },
                timeout: scope.timeout,
                around,
            })
            .await;
        // The kubeconfig goes with the command.
        drop(place);
        match ran {
            Ran::NeverBegan(reason) => Performed::NeverBegan { reason },
            Ran::Ended(end) => Performed::Ended(outcome(*end)),
        }
    }
}

impl Job<'_> {
    /// What the command may reach: what its action says, and what the profiles of its programs need to
    /// read.
    fn surroundings(
        &self,
        scope: &ShellScope,
        action: &ShellAction,
        profiles: &[Arc<Profile>],
        env: &mut Vec<(OsString, OsString)>,
    ) -> Result<(Surroundings, Option<Place>), String> {
        let argv = action.command.argv();
        let reach = Reach { network: action.network.clone(), ..scope.reach.clone() };
        let base = self.tools.workdir.clone();
        let mut around = Surroundings { reach, base, ..Surroundings::default() };
        let mut place = None;
        for (index, profile) in profiles.iter().enumerate() {
            let reach = &mut around.reach;
            // A wrapper starts the program that its arguments name.
            if index > 0 {
                reach.also_runs.push(profile.name().to_owned());
            }
            reach.also_runs.extend(profile.also_runs().iter().cloned());
            let needs = profile.needs();
            for account in needs.places(argv).filter_map(|need| self.tools.accounts.of(need, argv))
            {
                env.retain(|(name, _)| !account.without.iter().any(|without| name == without));
                around.files.extend(account.files.iter().cloned());
                around.env.extend(account.env.iter().cloned());
            }
            reach.reads.extend(needs.paths().map(|path| in_environment(path, env)));
            reach.also_runs.iter_mut().for_each(|path| *path = in_environment(path, env));
            if !needs.network.iter().any(|need| need == "@kubeconfig") {
                continue;
            }
            let context = context_in(argv);
            let Some(frozen) = self.tools.accounts.kube().of(context.as_deref()) else { continue };
            let made = Place::new(frozen).map_err(|error| {
                format!("no private directory could be made ({})", error.kind())
            })?;
            let found = made.surroundings();
            reach.reads.extend(found.reach.reads);
            env.retain(|(name, _)| name != "KUBECONFIG" && name != "HOME");
            env.push(("KUBECONFIG".into(), made.config.clone().into()));
            env.push(("HOME".into(), made.home.clone().into()));
            around.home = found.home;
            place = Some(made);
        }
        Ok((around, place))
    }
}

/// A path that begins with a variable of the child's, such as `$CARGO_HOME/registry`; one that isn't set
/// leads nowhere.
fn in_environment(path: &str, env: &[(OsString, OsString)]) -> String {
    let Some(rest) = path.strip_prefix('$') else { return path.to_owned() };
    let (name, beneath) = rest.split_once('/').unwrap_or((rest, ""));
    let value = env.iter().find(|(held, _)| held == name).and_then(|(_, value)| value.to_str());
    match value.filter(|value| !value.is_empty()) {
        Some(value) if beneath.is_empty() => value.to_owned(),
        Some(value) => format!("{}/{beneath}", value.trim_end_matches('/')),
        None => "/nonexistent".to_owned(),
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
    outcome.program = end.program;
    outcome.tier = end.tier.and_then(|tier| tier.letter().chars().next());
    outcome
}
