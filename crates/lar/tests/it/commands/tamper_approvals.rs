//! Signed approvals in the tamper corpus. Whoever changes the record here holds the ledger's own key: all
//! that follows a change is chained anew, and the head is signed anew. What stays out of reach are the
//! approvers' keys.

use linear_agentics::audit::bundle::{FORMAT, Header};
use linear_agentics::audit::checkpoint::Checkpoint;
use linear_agentics::audit::note::KeySigner;
use linear_agentics::audit::policy::Policy;
use linear_agentics::audit::record::{Approval, Body, Intent, Record, genesis, seal};
use linear_agentics::audit::tree::{Frontier, leaf_hash};
use linear_agentics::audit::verify::{Finding, Report};
use linear_agentics::id::RunId;
use linear_agentics::keys::read_root;
use serde_json::json;

use super::lar;
use crate::run::signed::{self, alice, bob, person};
use crate::support::{Lab, calls, done};

/// A real run whose two uses were each approved by two people, and what forges with the ledger's key.
struct Real {
    lab: Lab,
    bodies: Vec<Record>,
    origin: String,
    key: KeySigner,
    policy: Policy,
}

fn real() -> Real {
    let (alice, bob) = (alice(), bob());
    let lab = signed::lab(&[&alice, &bob], "required = 2");
    let both = calls([
        ("shell_sh", serde_json::json!({"command": "touch one"})),
        ("shell_sh", serde_json::json!({"command": "touch two"})),
    ]);
    let running = lab.replay(&[both, done()]).start();
    for made in ["one", "two"] {
        let what = signed::waiting(&lab);
        for person in [&alice, &bob] {
            signed::decide(&lab, "approve", person, &what).exits(0);
        }
        crate::support::eventually("it ran", || lab.made(made).exists());
    }
    running.wait().exits(0);
    let export = ["audit", "export", "latest", "--ledger", "ledger.db"];
    let bundle = lar(&lab, &export).exits(0).stdout;
    let mut lines = bundle.lines();
    let header: Header = serde_json::from_str(lines.next().unwrap()).unwrap();
    let origin = header.checkpoint.lines().next().unwrap().to_owned();
    let bodies = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = lar(&lab, &["keys", "show", "--policy", "--ledger", "ledger.db"]).exits(0).stdout;
    lab.write("policy.toml", &text);
    let policy = lar_verify::read_policy(&lab.path("policy.toml")).unwrap();
    let pem = find_key(&lab.path(".local/state/lar/keys")).expect("the ledger's key");
    let key = read_root(&pem, &origin).unwrap();
    Real { lab, bodies, origin, key, policy }
}

fn find_key(dir: &std::path::Path) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(dir).ok()? {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = find_key(&path) {
                return Some(found);
            }
        } else if path.extension().is_some_and(|kind| kind == "pem") {
            return Some(path);
        }
    }
    None
}

impl Real {
    /// The bundle of these records, chained and signed as the ledger would.
    fn forged(&self, records: &[Record]) -> String {
        let run: RunId = records[0].run.clone();
        let (mut prev, mut tree, mut lines) = (genesis(), Frontier::default(), Vec::new());
        for (seq, record) in (1u64..).zip(records) {
            let sealed = seal(&run, seq, prev, record.timestamp, &record.body).unwrap();
            prev = sealed.hash;
            tree.push(leaf_hash(&sealed.bytes)).unwrap();
            lines.push(String::from_utf8(sealed.bytes).unwrap());
        }
        let size = lines.len() as u64;
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root: tree.root() };
        let header = Header {
            bundle: FORMAT.into(),
            run,
            records: size,
            head: prev,
            checkpoint: checkpoint.sign(&self.key).unwrap().to_string(),
            timestamp: None,
            epochs: Vec::new(),
        };
        let header = String::from_utf8(header.line().unwrap()).unwrap();
        format!("{header}\n{}\n", lines.join("\n"))
    }

    fn report(&self, records: &[Record], policy: &Policy) -> Report {
        lar_verify::verify(self.forged(records).as_bytes(), policy).unwrap()
    }

    fn changed(&self, change: impl FnOnce(&mut Vec<Record>)) -> Vec<Record> {
        let mut records = self.bodies.clone();
        change(&mut records);
        records
    }

    /// What is refused, at this record.
    #[track_caller]
    fn refused(&self, because: &str, at: usize, change: impl FnOnce(&mut Vec<Record>)) {
        let report = self.report(&self.changed(change), &self.policy);
        assert!(report.authenticity.is_ok(), "the forger holds the ledger's key: {report:?}");
        let Finding::Broken { at: found, reason } = &report.integrity else {
            panic!("`{because}` was accepted: {report:?}")
        };
        assert_eq!(*found, Some(at as u64 + 1), "{reason}");
        assert!(reason.contains(because), "{reason}");
    }
}

fn approval(record: &mut Record) -> &mut Approval {
    match &mut record.body {
        Body::Approval(approval) => approval,
        other => panic!("{other:?}"),
    }
}

fn intent(record: &mut Record) -> &mut Intent {
    match &mut record.body {
        Body::Intent(intent) => intent,
        other => panic!("{other:?}"),
    }
}

fn places(records: &[Record], wanted: fn(&Body) -> bool) -> [usize; 2] {
    let found: Vec<usize> = (0..records.len()).filter(|at| wanted(&records[*at].body)).collect();
    found.try_into().unwrap()
}

#[test]
fn no_approval_can_be_forged_with_the_ledgers_key_alone() {
    let real = real();
    let untouched = real.report(&real.bodies, &real.policy);
    assert!(untouched.satisfies(&real.policy), "{untouched:?}");
    let [first, second] = places(&real.bodies, |body| matches!(body, Body::Approval(_)));
    let [spent, later] = places(&real.bodies, |body| matches!(body, Body::Intent(_)));
    // An approval replayed on another action, in either direction, whole or one statement of it.
    for (from, to) in [(first, second), (second, first)] {
        real.refused("another attempt", to, |records| {
            let replayed = approval(&mut records[from]).statements.clone();
            approval(&mut records[to]).statements = replayed;
        });
        real.refused("another attempt", to, |records| {
            let replayed = approval(&mut records[from]).statements[0].clone();
            approval(&mut records[to]).statements[0] = replayed;
        });
    }
    // The same approval for another action, and another spend by an approval that is used up.
    let other = json!({"argv": ["rm", "-r", "/"], "kind": "shell"});
    real.refused("for another action", spent, |records| {
        let intent = intent(&mut records[spent]);
        let action = json!({"action": other, "token": intent.token_name});
        intent.action_digest = linear_agentics::json::Digest::of_value(&action).unwrap();
        intent.args = other.clone();
    });
    // What was approved keeps its digest, and stands beside other arguments.
    real.refused("that of its arguments", spent, |records| {
        intent(&mut records[spent]).args = other.clone();
    });
    real.refused("no approval that it could use", later, |records| {
        intent(&mut records[later]).approval_seq = Some(first as u64 + 1);
    });
    real.refused("another action", first, |records| {
        approval(&mut records[first]).action_digest =
            Some(linear_agentics::json::Digest::of("other"));
    });
    // Fewer people, one of them twice, none at all.
    for at in [first, second] {
        real.refused("1 people signed it and 2 must", at, |records| {
            approval(&mut records[at]).statements.pop();
        });
        real.refused("given before", at, |records| {
            let statements = &mut approval(&mut records[at]).statements;
            statements[1] = statements[0].clone();
        });
        real.refused("isn't signed", at, |records| {
            let approval = approval(&mut records[at]);
            approval.statements.clear();
            approval.approver_identity = "os-user".into();
        });
        real.refused("something else", at, |records| {
            approval(&mut records[at]).approver = "mallory@example.com".into();
        });
        // The words of a statement, and its signature.
        for (word, other) in [
            ("\"approve\"", "\"deny\""),
            ("bob@", "rob@"),
            ("\"token\":\"sh\"", "\"token\":\"su\""),
        ] {
            let mut hit = false;
            let records = real.changed(|records| {
                for signed in &mut approval(&mut records[at]).statements {
                    hit |= signed.statement.contains(word);
                    signed.statement = signed.statement.replacen(word, other, 1);
                }
            });
            assert!(hit, "{word}");
            let report = real.report(&records, &real.policy);
            assert!(report.integrity.is_broken(), "{word}: {report:?}");
        }
        real.refused("isn't one of these bytes", at, |records| {
            let statement = &mut approval(&mut records[at]).statements[0].statement;
            let nonce = statement.find("\"nonce\":\"").unwrap() + 9;
            let other = if statement.as_bytes()[nonce] == b'0' { "1" } else { "0" };
            statement.replace_range(nonce..=nonce, other);
        });
    }
    // What was asked is not what was shown.
    let [asked, _] = places(&real.bodies, |body| matches!(body, Body::ApprovalRequest(_)));
    real.refused("another question", first, |records| {
        if let Body::ApprovalRequest(request) = &mut records[asked].body {
            request.question.as_mut().unwrap().lines[0].1.text = "rm".into();
        }
    });
    // A longer time than was signed can't be had by writing the spend later.
    real.refused("ran out at", spent, |records| {
        for record in &mut records[spent..] {
            record.timestamp = record.timestamp.plus_millis(86_400_000);
        }
    });
}

#[test]
fn people_of_the_forgers_own_are_known_to_no_verifier_that_names_them() {
    let real = real();
    let (alice, bob) = (alice(), bob());
    let named = |people: &[&signed::Person]| Policy {
        approvers: people
            .iter()
            .map(|person| linear_agentics::approval::ApproverKey::read(&person.line()).unwrap())
            .collect(),
        ..real.policy.clone()
    };
    let report = real.report(&real.bodies, &named(&[&alice, &bob]));
    assert!(report.authenticity.is_ok(), "{report:?}");
    let report = real.report(&real.bodies, &named(&[&alice, &person("carol@example.com", 3)]));
    let [first, _] = places(&real.bodies, |body| matches!(body, Body::Approval(_)));
    let Finding::Broken { at, reason } = &report.authenticity else { panic!("{report:?}") };
    assert_eq!(*at, Some(first as u64 + 1));
    assert!(reason.contains("bob@example.com"), "{reason}");
    // And the same by the command line.
    let people: String = [&alice, &bob].map(|person| format!("\"{}\", ", person.line())).concat();
    let text = real.lab.read("policy.toml");
    let bundle = real.lab.write("run.bundle", real.forged(&real.bodies));
    let bundle = bundle.to_str().unwrap();
    for (people, code) in [(people.as_str(), 0), (people.split_once(", ").unwrap().0, 1)] {
        real.lab.write("people.toml", format!("approvers = [{people}]\n{text}"));
        lar(&real.lab, &["audit", "verify", bundle, "--policy", "people.toml"]).exits(code);
    }
}
