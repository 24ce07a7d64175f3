//! What the trials came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::scenario::Scenario;

/// What a scenario came to.
#[derive(Debug)]
pub struct Row {
    store: String,
    name: &'static str,
    control: bool,
    at_random: u32,
    at_step: BTreeMap<String, u32>,
    tokens: usize,
    pub effects: usize,
    twice: usize,
    without_record: usize,
    unknown: usize,
}

impl Row {
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            store: scenario.store.to_string(),
            name: scenario.name,
            control: scenario.control,
            at_random: 0,
            at_step: BTreeMap::new(),
            tokens: 0,
            effects: 0,
            twice: 0,
            without_record: 0,
            unknown: 0,
        }
    }

    pub fn kills(&self) -> u32 {
        self.at_random + self.at_step.values().sum::<u32>()
    }

    /// Adds a round: each line of `effects` is one effect, its first word the token. `report` is what
    /// the worker said of its store.
    pub fn add(
        &mut self,
        at_random: u32,
        at_step: &BTreeMap<String, u32>,
        effects: &str,
        report: &str,
    ) {
        self.at_random += at_random;
        for (step, kills) in at_step {
            *self.at_step.entry(step.clone()).or_default() += kills;
        }
        let token = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let mut recorded = BTreeSet::new();
        let mut spent = BTreeSet::new();
        for line in report.lines() {
            match line.split_once(' ') {
                Some(("recorded", line)) => {
                    recorded.insert(line);
                    spent.insert(token(line));
                }
                Some(("unknown", _)) => self.unknown += 1,
                _ => {}
            }
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in effects.lines() {
            self.effects += 1;
            *counts.entry(token(line)).or_default() += 1;
            self.without_record += usize::from(!recorded.contains(line));
        }
        spent.extend(counts.keys().cloned());
        self.tokens += spent.len();
        self.twice += counts.values().filter(|count| **count > 1).count();
    }

    /// Whether no promise was broken so far.
    pub fn sound(&self) -> Result<(), String> {
        if (self.twice, self.without_record) == (0, 0) {
            return Ok(());
        }
        Err(format!(
            "{} · {}: {} token(s) had two or more effects, {} effect(s) have no record",
            self.store, self.name, self.twice, self.without_record
        ))
    }
}

/// All rows, as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = "\
| store | scenario | kills at random | kills at a step | tokens | effects | tokens with two or more \
effects | effects without a record | unknown |
|---|---|---|---|---|---|---|---|---|
"
    .to_owned();
    for row in rows {
        let name = match row.control {
            true => format!("control: effect first ({})", row.name),
            false => row.name.to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {name} | {} | {} | {} | {} | {} | {} | {} |",
            row.store,
            row.at_random,
            row.kills() - row.at_random,
            row.tokens,
            row.effects,
            row.twice,
            row.without_record,
            row.unknown
        );
    }
    let mut steps: BTreeMap<&str, u32> = BTreeMap::new();
    for (step, kills) in rows.iter().flat_map(|row| &row.at_step) {
        *steps.entry(step).or_default() += kills;
    }
    let steps: Vec<_> = steps.iter().map(|(step, kills)| format!("{step} {kills}")).collect();
    let _ = write!(text, "\nkills by step: {}", steps.join(", "));
    text
}

/// Whether the promises held, and the check was seen to fail where they aren't kept.
pub fn judge(rows: &[Row]) -> Result<(), String> {
    if rows.is_empty() {
        return Err("nothing was tried".to_owned());
    }
    for row in rows {
        if !row.control {
            row.sound()?;
            if row.effects < usize::try_from(row.kills() / 10).unwrap_or(0) {
                return Err(format!("{}: too few effects to say anything", row.name));
            }
        } else if row.twice == 0 {
            return Err("the control arm shows no double: the check was not seen to fail".into());
        }
    }
    match rows.iter().any(|row| row.control) {
        true => Ok(()),
        false => Err("no control arm ran: the check was not seen to fail".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn row(control: bool, effects: &str, report: &str) -> Row {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.control == control).unwrap();
        let mut row = Row::new(scenario);
        row.add(2, &BTreeMap::from([("intent".to_owned(), 1)]), effects, report);
        row
    }

    const REPORT: &str = "recorded a 1\nrecorded b 2\nunknown b\n";

    #[test]
    fn counts_what_happened() {
        let row = row(false, "a 1\n", REPORT);
        assert_eq!((row.kills(), row.tokens, row.effects, row.unknown), (3, 2, 1, 1));
        row.sound().unwrap();
    }

    #[test]
    fn a_double_and_an_effect_without_a_record_are_seen() {
        let double = row(false, "a 1\na 1\n", REPORT);
        assert_eq!(double.twice, 1);
        assert!(judge(&[double]).is_err());
        // The token was recorded, but not this attempt on it.
        let without = row(false, "a 9\n", REPORT);
        assert_eq!((without.twice, without.without_record), (0, 1));
        assert!(judge(&[without]).is_err());
    }

    #[test]
    fn a_check_that_was_not_seen_to_fail_says_nothing() {
        let sound = || row(false, "a 1\n", REPORT);
        assert!(judge(&[]).is_err());
        assert!(judge(&[sound()]).is_err());
        assert!(judge(&[sound(), row(true, "a 1\n", REPORT)]).is_err());
        judge(&[sound(), row(true, "a 1\na 2\n", REPORT)]).unwrap();
    }
}
