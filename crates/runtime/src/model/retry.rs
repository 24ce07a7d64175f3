//! How often and how long a passing fault of a model service is waited out.

use std::time::Duration;

use super::turn::Turn;
use super::usage::Usage;
use super::{ModelError, Progress};

/// The bounds of retrying. The caller's deadline bounds it as well: it drops the future.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The longest wait between attempts that the service did not ask for.
    pub cap: Duration,
    /// The longest `retry-after` that is obeyed; a longer one ends the turn in an error.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(32),
            longest_asked: Duration::from_secs(300),
        }
    }
}

/// Why one attempt gave no turn.
#[derive(Debug)]
pub(super) enum Fault {
    /// It may pass: try again, not sooner than `after` where the service said so.
    Passing { why: String, after: Option<Duration>, usage: Usage },
    /// The stream held something that can't be put together exactly: ask for a whole answer.
    AskWhole { usage: Usage },
    /// It will not pass.
    Final(ModelError),
}

impl Fault {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), after: None, usage: Usage::default() }
    }

    /// Notes what the failed attempt had already used.
    pub(super) fn having_used(self, used: Usage) -> Self {
        match self {
            Self::Passing { why, after, .. } => Self::Passing { why, after, usage: used },
            Self::AskWhole { .. } => Self::AskWhole { usage: used },
            fault @ Self::Final(_) => fault,
        }
    }
}

/// The state of one turn's attempts.
pub(super) struct Retries<'a> {
    policy: &'a RetryPolicy,
    service: &'static str,
    failed: u32,
    used: Usage,
}

impl<'a> Retries<'a> {
    pub(super) fn new(policy: &'a RetryPolicy, service: &'static str) -> Self {
        Self { policy, service, failed: 0, used: Usage::default() }
    }

    /// Waits until the next attempt may start, or says that there is none.
    pub(super) async fn after(
        &mut self,
        fault: Fault,
        progress: &dyn Progress,
    ) -> Result<(), ModelError> {
        let (why, asked) = match fault {
            Fault::Final(error) => return Err(error),
            Fault::AskWhole { usage } => {
                self.used.add(usage);
                progress.retrying("the stream can't be put together exactly", Duration::ZERO);
                return Ok(());
            }
            Fault::Passing { why, after, usage } => {
                self.used.add(usage);
                (why, after)
            }
        };
        self.failed += 1;
        let too_long = asked.filter(|asked| *asked > self.policy.longest_asked);
        if self.failed >= self.policy.attempts || too_long.is_some() {
            let why = match too_long {
                Some(asked) => format!("{why}, and it asked to wait {} seconds", asked.as_secs()),
                None => why,
            };
            return Err(ModelError::GaveUp {
                service: self.service,
                attempts: self.failed,
                why,
                usage: self.used,
            });
        }
        let wait = wait(self.policy, self.failed, asked, random());
        tracing::debug!(service = self.service, failed = self.failed, ?wait, %why, "retrying");
        progress.retrying(&why, wait);
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Tells the turn what the attempts before it used.
    pub(super) fn charge(&self, mut turn: Turn) -> Turn {
        turn.retried = self.used;
        turn
    }
}

/// Exponential backoff of which the upper half is random, so that many agents don't return at
/// once. What the service asked for is a floor, with a little jitter on top for the same reason.
fn wait(policy: &RetryPolicy, failed: u32, asked: Option<Duration>, random: u16) -> Duration {
    let doubled = 1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = policy.base.saturating_mul(doubled).min(policy.cap);
    let half = full / 2;
    let jitter = half.saturating_mul(u32::from(random)) / u32::from(u16::MAX);
    match asked {
        Some(asked) => asked + jitter.min(asked / 4),
        None => half + jitter,
    }
}

/// Jitter need not be secret; without a random source the middle does.
fn random() -> u16 {
    getrandom::u32().map_or(u16::MAX / 2, |bits| (bits >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_what_was_asked_is_a_floor() {
        let policy = RetryPolicy::default();
        let most = |failed| wait(&policy, failed, None, u16::MAX).as_millis();
        assert_eq!([most(1), most(2), most(3)], [500, 1000, 2000]);
        assert_eq!(most(40), 32_000);
        assert_eq!(most(u32::MAX), 32_000);
        assert_eq!(wait(&policy, 1, None, 0).as_millis(), 250);
        let asked = Some(Duration::from_secs(8));
        assert_eq!(wait(&policy, 1, asked, 0), Duration::from_secs(8));
        assert!(wait(&policy, 9, asked, u16::MAX) <= Duration::from_secs(10));
        let none = wait(&policy, 9, Some(Duration::ZERO), u16::MAX);
        assert_eq!(none, Duration::ZERO);
    }

    #[tokio::test]
    async fn attempts_are_bounded_and_what_they_used_is_told() {
        let policy = RetryPolicy { attempts: 3, base: Duration::ZERO, ..RetryPolicy::default() };
        let used = Usage { input_tokens: 10, ..Usage::default() };
        let mut retries = Retries::new(&policy, "test");
        for _ in 0..2 {
            let fault = Fault::passing("cut").having_used(used);
            retries.after(fault, &Silent).await.unwrap();
        }
        let error = retries.after(Fault::passing("cut"), &Silent).await;
        let Err(ModelError::GaveUp { attempts, usage, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!((attempts, usage.input_tokens), (3, 20));

        let long = Fault::Passing {
            why: "busy".into(),
            after: Some(Duration::from_secs(3600)),
            usage: Usage::default(),
        };
        let error = Retries::new(&policy, "test").after(long, &Silent).await;
        let message = error.unwrap_err().to_string();
        assert!(message.contains("asked to wait 3600 seconds"), "{message}");
    }
}
