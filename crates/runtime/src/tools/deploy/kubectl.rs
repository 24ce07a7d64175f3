//! The `kubectl` way: one patch, and then its rollout is awaited.
//!
//! 1. The deployment's containers are read. A strategic merge patch that names a container which
//!    isn't there adds it, so a mistyped name would put a second container into every pod. A way back
//!    ends here where the deployment isn't any more as the one left it from which it is the return.
//! 2. One patch sets the image, and an annotation with the attempt's id. It is never repeated.
//! 3. When the patch's answer is lost, the annotation tells whether it was applied.
//! 4. `kubectl rollout status` awaits the end, for the rest of the token's time.
//!
//! Steps 1, 3 and 4 only read. Each `kubectl` gets the frozen kubeconfig and an empty home, both in
//! a directory that is ours alone and goes when the attempt ends, and nothing of the operator's
//! environment.

use std::time::{Duration, Instant};

use lar_core::outcome::{Outcome, Performed, ProgramIdentity, Verdict};

use super::super::Job;
use super::super::child::{End, How, Ran};
use super::answer::{Answer, answer, has_failed, last_line};
use super::cluster::Frozen;
use super::place::Place;
use lar_core::display::first_chars;

/// The annotation that holds the id of the attempt which patched last. It stands on the deployment
/// and not on its pod template, so that it starts no rollout by itself: a patch to the image that is
/// already there stays a patch that changes nothing.
pub(super) const ANNOTATION: &str = "linear-agent-runtime/attempt";

/// How long one request may take. An API server gives up after 60 seconds by itself.
pub(super) const REQUEST: Duration = Duration::from_secs(60);
/// How long each look at the annotation may take; these may go beyond the token's time.
const LOOK: Duration = Duration::from_secs(10);
/// How often a read is tried, a second apart.
const TRIES: u32 = 3;
/// How long `kubectl rollout status` may take to end after its own timeout.
const GRACE: Duration = Duration::from_secs(10);

/// What is patched, to what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) namespace: &'a str,
    pub(super) deployment: &'a str,
    pub(super) container: &'a str,
    pub(super) image: &'a str,
    /// The image of the failed deployment that this is the return from.
    pub(super) undoes: Option<&'a str>,
}

impl Job<'_> {
    /// Deploys. The outcome's output is what the commands wrote, one after another; its digest
    /// covers exactly that text.
    pub(super) async fn deploy_by_kubectl(
        &self,
        timeout: Duration,
        target: Target<'_>,
        frozen: &Frozen,
    ) -> Performed {
        let place = match Place::new(frozen) {
            Ok(place) => place,
            Err(error) => {
                return Performed::NeverBegan {
                    reason: format!("no private directory for `kubectl` ({})", error.kind()),
                };
            }
        };
        let until = Instant::now() + timeout;
        let mut under_way = UnderWay {
            job: self,
            target,
            place,
            until,
            text: String::new(),
            program: None,
            tier: None,
        };
        if let Some(ended) = under_way.find_container().await {
            return ended;
        }
        if let Some(ended) = under_way.patch().await {
            return ended;
        }
        under_way.await_rollout().await
    }
}

/// A deployment on its way.
struct UnderWay<'a> {
    job: &'a Job<'a>,
    target: Target<'a>,
    place: Place,
    until: Instant,
    /// What the commands wrote so far.
    text: String,
    program: Option<ProgramIdentity>,
    tier: Option<char>,
}

impl UnderWay<'_> {
    /// `None` when the container is there, and on a way back as the deployment left it: what others
    /// have changed since is not theirs to lose. Nothing is changed yet, so every other end is a failure
    /// for certain.
    async fn find_container(&mut self) -> Option<Performed> {
        // No name of a container holds `=`, and what is behind it is compared as a whole.
        let query = format!(
            "-o=jsonpath={{range .spec.template.spec.containers[*]}}{{.name}}{{\"\\n\"}}{{end}}=\
             {{.metadata.annotations['{ANNOTATION}']}} \
             {{.spec.template.spec.containers[?(@.name==\"{}\")].image}}",
            self.target.container
        );
        let failed = Verdict::Failed;
        let end = match self.kubectl(&["get"], &[&query], self.left().min(REQUEST)).await {
            // Only here did nothing at all happen.
            Ran::NeverBegan(reason) => return Some(Performed::NeverBegan { reason }),
            Ran::Ended(end) => end,
        };
        let (names, stands) =
            end.stdout.text.split_once('=').unwrap_or((end.stdout.text.as_str(), ""));
        let left = self.target.undoes.map(|image| format!("{} {image}", self.job.call));
        match end.how {
            How::Exited(0) if names.lines().any(|name| name == self.target.container) => {
                if left.is_none_or(|left| stands == left) {
                    return None;
                }
                let what = format!(
                    "not patched: since the deployment that failed it was changed (attempt and image are \
                     `{}` now), which is left as it is",
                    first_chars(stands, 300)
                );
                Some(self.ended(failed, "changed since", &what, None))
            }
            How::Exited(0) => {
                let there: Vec<&str> = names.lines().collect();
                let what = format!(
                    "there is no container `{}`, only {}; nothing was changed",
                    self.target.container,
                    there.join(", ")
                );
                Some(self.ended(failed, "container not found", &what, None))
            }
            How::Exited(_) => {
                self.note("get", &end);
                let reason = match answer(&end.stderr.text) {
                    Answer::NotReached => "cluster not reached",
                    Answer::Refused | Answer::Unclear => "deployment not readable",
                };
                let what = format!("not patched: {}", last_line(&end));
                Some(self.ended(failed, reason, &what, Some(&end)))
            }
            How::Killed(why) => Some(self.ended(failed, why, "stopped before the patch", None)),
            How::Signaled(_) | How::Lost => Some(self.ended(
                failed,
                "kubectl was lost",
                "not patched: `kubectl` was lost",
                None,
            )),
        }
    }

    /// `None` when the patch was applied.
    async fn patch(&mut self) -> Option<Performed> {
        let patch = serde_json::json!({
            "metadata": { "annotations": { ANNOTATION: self.job.attempt } },
            "spec": { "template": { "spec": { "containers": [
                { "name": self.target.container, "image": self.target.image },
            ] } } },
        });
        let patch = patch.to_string();
        let time = self.left().min(REQUEST);
        let end = match self.kubectl(&["patch"], &["--type=strategic", "-p", &patch], time).await {
            Ran::NeverBegan(reason) => {
                let what = format!("not patched: {reason}");
                return Some(self.ended(Verdict::Failed, "patch not started", &what, None));
            }
            Ran::Ended(end) => end,
        };
        self.note("patch", &end);
        let message = last_line(&end);
        match end.how {
            How::Exited(0) => return None,
            How::Exited(_) => match answer(&end.stderr.text) {
                Answer::Refused => {
                    let what = format!("the cluster refused the patch: {message}");
                    return Some(self.ended(Verdict::Failed, "patch refused", &what, Some(&end)));
                }
                Answer::NotReached => {
                    let what = format!("not patched: {message}");
                    return Some(self.ended(
                        Verdict::Failed,
                        "cluster not reached",
                        &what,
                        Some(&end),
                    ));
                }
                Answer::Unclear => {}
            },
            How::Killed(why) if self.job.stop.requested().is_some() => {
                return Some(self.ended(Verdict::Unknown, why, "stopped during the patch", None));
            }
            How::Killed(_) | How::Signaled(_) | How::Lost => {}
        }
        if self.was_applied().await {
            return None;
        }
        let what = "the patch's answer was lost, and the deployment doesn't bear this attempt's \
                    annotation, or can't be read; look at it before anything else is tried";
        Some(self.ended(Verdict::Unknown, "patch answer lost", what, Some(&end)))
    }

    /// Whether the annotation says that the patch was applied. A no isn't certain: a request whose
    /// connection was cut may still be under way in the server.
    async fn was_applied(&mut self) -> bool {
        let query = format!("-o=jsonpath={{.metadata.annotations['{ANNOTATION}']}}");
        for attempt in 0..TRIES {
            if attempt > 0 && !self.pause().await {
                return false;
            }
            if let Ran::Ended(end) = self.kubectl(&["get"], &[&query], LOOK).await
                && matches!(end.how, How::Exited(0))
                && end.stdout.text.trim() == self.job.attempt
            {
                self.text
                    .push_str("the answer was lost; the annotation says that it was applied\n");
                return true;
            }
        }
        false
    }

    /// Awaits the end of the rollout.
    async fn await_rollout(&mut self) -> Performed {
        let mut tries = 1;
        loop {
            // At least a second: none at all would mean to wait without end.
            let left = self.left().max(Duration::from_secs(1));
            let limit = format!("--timeout={}ms", left.as_millis());
            let ran = self.kubectl(&["rollout", "status"], &[&limit], left + GRACE).await;
            let end = match ran {
                Ran::NeverBegan(reason) => {
                    let what = format!("patched, but the rollout can't be watched: {reason}");
                    return self.ended(Verdict::Unknown, "rollout not observed", &what, None);
                }
                Ran::Ended(end) => end,
            };
            self.note("rollout status", &end);
            let message = last_line(&end);
            match end.how {
                How::Exited(0) => {
                    let what = format!("{} is rolled out", self.target.image);
                    return self.ended(Verdict::Succeeded, "", &what, Some(&end));
                }
                How::Exited(_) if has_failed(&end.stderr.text) => {
                    let reason = self.job.rollout_failed();
                    let what = format!("{} was not rolled out: {message}", self.target.image);
                    return self.ended(Verdict::Failed, reason, &what, Some(&end));
                }
                // It could not be watched, which says nothing about the rollout: nobody should
                // have a good one undone because a connection broke. Watching is free.
                How::Exited(_) if tries < TRIES => {}
                How::Exited(_) => {
                    let what = format!("patched, but the rollout can't be watched: {message}");
                    return self.ended(Verdict::Unknown, "rollout not observed", &what, Some(&end));
                }
                How::Killed(why) => {
                    return self.ended(Verdict::Unknown, why, "stopped during the rollout", None);
                }
                How::Signaled(_) | How::Lost => {
                    let what = "patched, but `kubectl` was lost while it watched the rollout";
                    return self.ended(Verdict::Unknown, "rollout not observed", what, None);
                }
            }
            tries += 1;
            self.pause().await;
        }
    }

    /// Runs `kubectl VERB deployment…` for the target.
    async fn kubectl(&mut self, verb: &[&str], rest: &[&str], timeout: Duration) -> Ran {
        let (programs, at) =
            (&self.job.tools.programs, (self.target.namespace, self.target.deployment));
        let ran = self.job.run(self.place.order(programs, verb, at, rest, timeout)).await;
        if let Ran::Ended(end) = &ran {
            self.program = end.program.clone();
            self.tier = end.tier.and_then(|tier| tier.letter().chars().next());
        }
        ran
    }

    /// What is left of the token's time.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits a second; `false` when the run is stopped meanwhile.
    async fn pause(&self) -> bool {
        tokio::select! {
            _ = self.job.stop.wait() => false,
            () = tokio::time::sleep(Duration::from_secs(1)) => true,
        }
    }

    /// Keeps what a command wrote.
    fn note(&mut self, command: &str, end: &End) {
        self.text.push_str(&format!("[kubectl {command}]\n"));
        for text in [&end.stdout.text, &end.stderr.text] {
            self.text.push_str(text);
            if !text.is_empty() && !text.ends_with('\n') {
                self.text.push('\n');
            }
        }
    }

    /// The outcome. An empty reason is none; `decided` is the command whose exit decided it.
    fn ended(
        &mut self,
        verdict: Verdict,
        reason: &str,
        what: &str,
        decided: Option<&End>,
    ) -> Performed {
        let summary = format!("{}/{}: {what}", self.target.namespace, self.target.deployment);
        let summary = first_chars(&self.job.tools.redactor().redact(&summary), 500).to_owned();
        let mut outcome = Outcome::new(verdict, summary, std::mem::take(&mut self.text));
        outcome.reason = (!reason.is_empty()).then(|| reason.to_owned());
        outcome.exit_code = decided.and_then(|end| match end.how {
            How::Exited(code) => Some(code),
            How::Signaled(_) | How::Killed(_) | How::Lost => None,
        });
        outcome.program = self.program.take();
        outcome.tier = self.tier.take();
        Performed::Ended(outcome)
    }
}
