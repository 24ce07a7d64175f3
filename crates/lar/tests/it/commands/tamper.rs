//! The tamper corpus: every change to the bundle of a real run is refused, and where it is the change of
//! a record, that record is named. The untouched bundles are accepted.

use std::collections::BTreeMap;

use linear_agentics::audit::policy::Policy;
use linear_agentics::audit::verify::{Finding, Report};

use super::lar;
use crate::support::{Lab, command, done, shell};

/// Real runs of one ledger, interleaved in its log as they were made, and a policy that knows its key.
struct Real {
    bundles: Vec<Vec<String>>,
    older: Vec<String>,
    policy: Policy,
    stranger: Vec<String>,
    _lab: (Lab, Lab),
}

fn lines(text: &str) -> Vec<String> {
    text.split_terminator('\n').map(str::to_owned).collect()
}

fn real() -> Real {
    let lab = Lab::new(&shell(&["echo"], "max_uses = 9"));
    let export = |lab: &Lab, run: &str| {
        lines(&lar(lab, &["audit", "export", run, "--ledger", "ledger.db"]).exits(0).stdout)
    };
    lab.replay(&[command("echo one"), command("rm -rf /"), done()]).go().exits(0);
    let older = export(&lab, "latest");
    lab.replay(&[command("echo 'täst ü'"), command("echo b"), done()]).go().exits(0);
    let listed = lar(&lab, &["audit", "list", "--json", "--ledger", "ledger.db"]).exits(0).json();
    let runs = listed.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap());
    let bundles = runs.map(|run| export(&lab, run)).collect();
    let text = lar(&lab, &["keys", "show", "--policy", "--ledger", "ledger.db"]).exits(0).stdout;
    lab.write("policy.toml", &text);
    let policy = lar_verify::read_policy(&lab.path("policy.toml")).unwrap();
    let other = Lab::new(&shell(&["echo"], "max_uses = 9"));
    other.replay(&[command("echo one"), command("rm -rf /"), done()]).go().exits(0);
    let stranger = export(&other, "latest");
    Real { bundles, older, policy, stranger, _lab: (lab, other) }
}

fn verify(policy: &Policy, lines: &[String]) -> Report {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    lar_verify::verify(text.as_bytes(), policy).unwrap()
}

/// Counts the mutations of each kind, and holds that each is refused.
struct Corpus<'a> {
    policy: &'a Policy,
    counts: BTreeMap<&'static str, u32>,
}

impl Corpus<'_> {
    /// A mutation that is refused, wherever that is noticed.
    fn refused(&mut self, kind: &'static str, lines: &[String]) -> Report {
        let report = verify(self.policy, lines);
        assert!(!report.satisfies(self.policy), "{kind} was accepted: {report:?}");
        *self.counts.entry(kind).or_default() += 1;
        report
    }

    /// A mutation of one record, which is named.
    fn named(&mut self, kind: &'static str, lines: &[String], record: u64) {
        let report = self.refused(kind, lines);
        match &report.integrity {
            Finding::Broken { at: Some(at), .. } => assert_eq!(*at, record, "{kind}: {report:?}"),
            other => panic!("{kind} of record {record}: {other:?}"),
        }
    }

    /// A mutation that leaves the records whole, and breaks who vouches for them.
    fn unauthentic(&mut self, kind: &'static str, lines: &[String]) {
        let report = self.refused(kind, lines);
        assert!(report.integrity.is_ok(), "{kind}: {report:?}");
        assert!(!report.authenticity.is_ok(), "{kind}: {report:?}");
    }
}

/// Where the records stand among the lines: the line, and the record's number.
fn records(lines: &[String]) -> Vec<(usize, u64)> {
    let own = lines.iter().enumerate().skip(1).filter(|(_, line)| line.starts_with('{'));
    own.map(|(at, _)| at).zip(1..).collect()
}

fn with(lines: &[String], at: usize, line: String) -> Vec<String> {
    let mut changed = lines.to_vec();
    assert_ne!(changed[at], line, "the mutation changes something");
    changed[at] = line;
    changed
}

/// Changes one character between two quotes to another.
fn flipped(line: &str, at: usize) -> Option<String> {
    let (before, rest) = line.split_at_checked(at)?;
    let first = rest.chars().next()?;
    let other = match first {
        'a'..='y' | 'A'..='Y' | '0'..='8' => char::from(first as u8 + 1),
        'z' => 'a',
        _ => '~',
    };
    Some(format!("{before}{other}{}", &rest[first.len_utf8()..]))
}

#[test]
fn no_change_to_a_bundle_passes() {
    let real = real();
    let mut corpus = Corpus { policy: &real.policy, counts: BTreeMap::new() };
    assert!(verify(&real.policy, &real.older).satisfies(&real.policy), "the older one holds too");
    for bundle in &real.bundles {
        let whole = verify(&real.policy, bundle);
        assert!(whole.satisfies(&real.policy), "{whole:?}");
        assert!(whole.authenticity.is_ok() && whole.completeness.is_ok());
        mutate_records(&mut corpus, bundle);
        mutate_header(&mut corpus, bundle);
        mutate_seals(&mut corpus, bundle, &real);
    }
    let all: u32 = corpus.counts.values().sum();
    assert!(all >= 200, "{all} mutations: {:?}", corpus.counts);
}

fn mutate_records(corpus: &mut Corpus<'_>, bundle: &[String]) {
    let records = records(bundle);
    let count = records.len() as u64;
    for &(at, seq) in &records {
        let line = &bundle[at];
        for part in 1..6 {
            let place = line.len() * part / 6;
            if let Some(changed) = flipped(line, place) {
                corpus.named("flip", &with(bundle, at, changed), seq);
            }
        }
        let mut gone = bundle.to_vec();
        gone.remove(at);
        corpus.named("delete", &gone, seq);
        let mut twice = bundle.to_vec();
        twice.insert(at, line.clone());
        corpus.named("insert", &twice, seq + 1);
        corpus.named("truncate", &bundle[..at], seq);
        if seq < count {
            let mut swapped = bundle.to_vec();
            swapped.swap(at, at + 1);
            corpus.named("reorder", &swapped, seq);
        }
        // Another spelling of the same content.
        corpus.named("space", &with(bundle, at, line.replacen(':', ": ", 1)), seq);
        corpus.named(
            "duplicate key",
            &with(bundle, at, line.replacen(",\"v\":1", ",\"v\":1,\"v\":1", 1)),
            seq,
        );
        corpus.named(
            "escape",
            &with(bundle, at, line.replacen("\"run\"", "\"\\u0072un\"", 1)),
            seq,
        );
        corpus.named(
            "rounding",
            &with(bundle, at, line.replacen(",\"v\":1", ",\"v\":1.0", 1)),
            seq,
        );
        corpus.named(
            "rounding",
            &with(
                bundle,
                at,
                line.replacen(&format!("\"seq\":{seq}"), "\"seq\":9007199254740993", 1),
            ),
            seq,
        );
        corpus.named("carriage return", &with(bundle, at, format!("{line}\r")), seq);
        corpus.named("byte order mark", &with(bundle, at, format!("\u{feff}{line}")), seq);
        // Letters that look alike, and marks that can't be seen.
        corpus.named(
            "unicode",
            &with(bundle, at, line.replacen("\"type\"", "\"typ\u{435}\"", 1)),
            seq,
        );
        corpus.named("unicode", &with(bundle, at, line.replacen("\",\"", "\u{200b}\",\"", 1)), seq);
        corpus.named("null", &with(bundle, at, String::new()), seq);
    }
}

fn mutate_header(corpus: &mut Corpus<'_>, bundle: &[String]) {
    let header = &bundle[0];
    let count = records(bundle).len();
    for (from, to) in [
        (format!("\"records\":{count}"), format!("\"records\":{}", count + 1)),
        (format!("\"records\":{count}"), format!("\"records\":{}", count - 1)),
        ("lar-bundle/v1".to_owned(), "lar-bundle/v2".to_owned()),
        ("\"head\":\"".to_owned(), "\"head\":\"0".to_owned()),
        ("\"run\":\"2".to_owned(), "\"run\":\"3".to_owned()),
        ("{\"bundle\"".to_owned(), "{\"allow\":1,\"bundle\"".to_owned()),
        ("\\n\\n".to_owned(), "\\n".to_owned()),
    ] {
        corpus.refused("header", &with(bundle, 0, header.replacen(&from, &to, 1)));
    }
    corpus.refused("no header", &bundle[1..]);
    for (at, line) in bundle.iter().enumerate().filter(|(_, line)| line.starts_with('[')) {
        let mut gone = bundle.to_vec();
        gone.remove(at);
        corpus.refused("gap", &gone);
        let middle = line.len() / 2;
        if let Some(changed) = flipped(line, middle) {
            corpus.refused("gap", &with(bundle, at, changed));
        }
        corpus.refused("gap", &with(bundle, at, line.replacen('[', "[1", 1)));
    }
}

fn mutate_seals(corpus: &mut Corpus<'_>, bundle: &[String], real: &Real) {
    let header = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
    let own = header(&bundle[0]);
    let note = own["checkpoint"].as_str().unwrap().to_owned();
    let with_note = |note: &str| {
        let mut changed = own.clone();
        changed["checkpoint"] = note.into();
        with(bundle, 0, serde_json::to_string(&changed).unwrap())
    };
    // The signature dropped, cut, of another log's key under this one's name, or of another text.
    let (text, below) = note.split_once("\n\n").unwrap();
    let signature = below.trim_end();
    corpus.refused("signature dropped", &with_note(&format!("{text}\n")));
    let cut: String = signature.chars().take(signature.chars().count() - 8).collect();
    corpus.unauthentic("signature cut", &with_note(&format!("{text}\n\n{cut}\n")));
    let stranger = header(&real.stranger[0])["checkpoint"].as_str().unwrap().to_owned();
    let other = stranger.split_once("\n\n").unwrap().1.trim_end().to_owned();
    corpus.unauthentic("another key", &with_note(&format!("{text}\n\n{other}\n")));
    let id = |line: &str| line.rsplit(' ').next().unwrap().chars().take(5).collect::<String>();
    let renamed = signature.rsplit_once(' ').unwrap().0.to_owned();
    let grafted = other.rsplit(' ').next().unwrap().replacen(&id(&other), &id(signature), 1);
    corpus.unauthentic("forged", &with_note(&format!("{text}\n\n{renamed} {grafted}\n")));
    // The checkpoint of another log, and of this one when it was shorter.
    corpus.refused("swapped checkpoint", &with_note(&stranger));
    let older = header(&real.older[0])["checkpoint"].as_str().unwrap().to_owned();
    corpus.refused("older checkpoint", &with_note(&older));
    for (from, to) in [("\n", "x\n"), ("\n", "\n1")] {
        corpus.refused("changed checkpoint", &with_note(&note.replacen(from, to, 1)));
    }
    // Another run's records beneath this run's header, and the other way round.
    for other in real.bundles.iter().chain([&real.stranger]) {
        if other[0] != bundle[0] {
            let mixed = [&bundle[..1], &other[1..]].concat();
            corpus.refused("swapped run", &mixed);
        }
    }
    // Records of one run spliced into another's at the same number.
    let (at, seq) = records(bundle)[1];
    let (from, _) = records(&real.stranger)[1];
    corpus.named("spliced", &with(bundle, at, real.stranger[from].clone()), seq);
}

#[test]
fn a_bundle_made_anew_is_no_authentic_one() {
    let real = real();
    // A whole log by somebody else, consistent in itself: only the key tells it from the real one.
    let report = verify(&real.policy, &real.stranger);
    assert!(report.integrity.is_ok() && report.completeness.is_ok(), "{report:?}");
    assert!(report.authenticity.is_broken());
    assert!(!report.satisfies(&real.policy));
}
