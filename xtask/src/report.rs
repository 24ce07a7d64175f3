//! What was done, what failed and what was left out, said at the end in one place.

use std::fmt;
use std::time::{Duration, Instant};

enum Verdict {
    Passed(Duration),
    Failed(Duration, String),
    Skipped(String),
}

/// The steps so far, in order.
#[derive(Default)]
pub struct Report {
    steps: Vec<(String, Verdict)>,
}

impl Report {
    /// Announces a step, does it, and says how long it took. Returns whether it passed.
    pub fn step(
        &mut self,
        name: &str,
        what: &str,
        work: impl FnOnce() -> Result<(), String>,
    ) -> bool {
        println!("\n=== {name}: {what}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        let passed = result.is_ok();
        match &result {
            Ok(()) => println!("--- {name}: passed in {}", Seconds(took)),
            Err(why) => println!("--- {name}: FAILED in {}: {why}", Seconds(took)),
        }
        let verdict = match result {
            Ok(()) => Verdict::Passed(took),
            Err(why) => Verdict::Failed(took, why),
        };
        self.steps.push((name.to_owned(), verdict));
        passed
    }

    /// Notes a step that is left out, and why.
    pub fn skip(&mut self, name: &str, why: &str) {
        println!("\n=== {name}: skipped: {why}");
        self.steps.push((name.to_owned(), Verdict::Skipped(why.to_owned())));
    }

    pub fn passed(&self) -> bool {
        !self.steps.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(..)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        let mut total = Duration::ZERO;
        writeln!(f, "=== summary")?;
        for (name, verdict) in &self.steps {
            match verdict {
                Verdict::Passed(took) => {
                    passed += 1;
                    total += *took;
                    writeln!(f, "passed   {name} ({})", Seconds(*took))?;
                }
                Verdict::Failed(took, why) => {
                    failed += 1;
                    total += *took;
                    writeln!(f, "FAILED   {name} ({}): {why}", Seconds(*took))?;
                }
                Verdict::Skipped(why) => {
                    skipped += 1;
                    writeln!(f, "skipped  {name}: {why}")?;
                }
            }
        }
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped in {}", Seconds(total))
    }
}

/// A time for people: `4.2 s`, `12 min 5 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        if whole < 60 {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{} min {} s", whole / 60, whole % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_whole_and_every_skip_is_named() {
        let mut report = Report::default();
        report.step("a", "", || Ok(()));
        assert!(report.passed());
        report.step("b", "", || Err("it broke".to_owned()));
        report.skip("c", "no such tool");
        report.step("d", "", || Ok(()));
        assert!(!report.passed());
        let shown = report.to_string();
        assert!(shown.contains("FAILED   b"), "{shown}");
        assert!(shown.contains("it broke"), "{shown}");
        assert!(shown.contains("skipped  c: no such tool"), "{shown}");
        let last = shown.lines().last().unwrap();
        assert!(last.starts_with("2 passed, 1 failed, 1 skipped in "), "{last}");
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!(Seconds(Duration::from_millis(4240)).to_string(), "4.2 s");
        assert_eq!(Seconds(Duration::from_secs(725)).to_string(), "12 min 5 s");
    }
}
