//! Signed approvals again, offline: a run's records as they are exported.

use lar_core::approval::{ApprovalRequest, Question};
use lar_core::audit::note::KeyKind;
use lar_core::audit::policy::Policy;
use lar_core::audit::record::{
    Approval, ApprovalPolicy, ApprovalRequested, Body, Intent, RunOpen, RunResume, TokenLine,
};
use lar_core::audit::verify::{Finding, Report};
use lar_core::outcome::Verdict;
use lar_core::redact::Redactor;

use super::*;
use crate::bundle::{Log, ORIGIN, signer, verify};
use crate::records;

/// One spend of a token that alice or bob must approve: the request stands in record 2, the approval
/// in record 3, the intent in record 4.
pub struct Story {
    pub policy: Approvers,
    pub bodies: Vec<Body>,
}

fn question(action: Digest) -> Question {
    let request = ApprovalRequest {
        token_name: "deploy".into(),
        scope: "all".into(),
        message: "deploy_app".into(),
        lines: vec![("image".into(), "app:v2".into())],
        action_digest: Some(action),
        uses_left: 1,
        rationale: None,
        choices: Vec::new(),
    };
    Question::of(&request, &Redactor::default(), "fully")
}

impl Story {
    pub fn new(required: u32, not_the_runner: bool) -> Self {
        let lines = [line("alice", &key(1)), line("bob", &key(2))];
        let policy = Approvers::new(lines, required, not_the_runner).unwrap();
        let mut story = Self { policy, bodies: Vec::new() };
        let people: &[(&str, u8)] = &[("alice", 1), ("bob", 2)];
        let statements: Vec<Signed> = people[..required as usize]
            .iter()
            .map(|(name, seed)| story.signed(name, *seed, |_| ()))
            .collect();
        let action = story.subject().action;
        let attempt = Some(story.subject().attempt);
        let token = TokenLine { requires_approval: true, ..records::token("deploy", 1) };
        let approvals =
            ApprovalPolicy { tokens: vec!["deploy".into()], policy: story.policy.clone() };
        let open = RunOpen {
            approvals: vec![approvals],
            runner: Some(Runner { account: "ci".into(), names: Vec::new() }),
            ..records::open(vec![token])
        };
        let asked = ApprovalRequested {
            token_name: "deploy".into(),
            attempt,
            action_digest: Some(action),
            message: "may it?".into(),
            shown: None,
            question: Some(question(action)),
        };
        let approval = Approval {
            token_name: "deploy".into(),
            attempt,
            action_digest: Some(action),
            message: "may it?".into(),
            approved: true,
            approver: ["alice", "bob"][..required as usize].join(", "),
            approver_identity: "ssh-key".into(),
            statements,
        };
        let intent = records::intent("deploy", story.subject().attempt, serde_json::json!({}));
        let intent = Intent { approval_seq: Some(3), ..intent };
        let outcome = records::outcome(&intent, 4, Some(Verdict::Succeeded));
        story.bodies = vec![
            Body::RunOpen(open),
            Body::ApprovalRequest(asked),
            Body::Approval(approval),
            Body::Intent(intent),
            Body::Outcome(outcome),
            Body::RunClose(records::close(vec![records::account("deploy", 1, 1)], 6)),
        ];
        story
    }

    pub fn subject(&self) -> Subject {
        subject(&self.policy)
    }

    /// What this person signs about it, changed by `change` before that.
    pub fn signed(&self, name: &'static str, seed: u8, change: impl Fn(&mut Given)) -> Signed {
        let subject = self.subject();
        let shown = question(subject.action).digest().unwrap();
        let (word, until) = (Word::Approve, 100_000);
        let mut given = Given { subject, shown, word, name, until, nonce: seed, key: key(seed) };
        change(&mut given);
        given.sign()
    }

    pub fn approval(&mut self) -> &mut Approval {
        self.bodies
            .iter_mut()
            .find_map(|body| match body {
                Body::Approval(approval) => Some(approval),
                _ => None,
            })
            .unwrap()
    }

    pub fn report(&self, people: &[&str]) -> Report {
        let mut bodies = self.bodies.clone();
        let count = bodies.len() as u64;
        if let Some(Body::RunClose(close)) = bodies.last_mut() {
            close.records = count;
        }
        let log = Log::new(&[("run-1", bodies)]);
        let signer = signer(7, ORIGIN, KeyKind::Ed25519);
        let note = log.checkpoint().sign(&signer).unwrap();
        let policy = Policy {
            keys: vec![lar_core::audit::note::NoteSigner::key(&signer).clone()],
            approvers: people
                .iter()
                .map(|line| lar_core::approval::ApproverKey::read(line).unwrap())
                .collect(),
            ..Policy::default()
        };
        verify(&policy, &log.bundle("run-1", &note, Vec::new()))
    }

    #[track_caller]
    pub fn broken_at(&self, record: u64, because: &str) {
        let report = self.report(&[]);
        let Finding::Broken { at, reason } = &report.integrity else {
            panic!("it was accepted: {report:?}")
        };
        assert_eq!(*at, Some(record), "{reason}");
        assert!(reason.contains(because), "{reason}");
    }
}

#[test]
fn what_was_signed_holds() {
    for required in [1, 2] {
        for not_the_runner in [false, true] {
            let report = Story::new(required, not_the_runner).report(&[]);
            assert!(report.integrity.is_ok() && report.authenticity.is_ok(), "{report:?}");
            assert!(report.completeness.is_ok(), "{report:?}");
        }
    }
}

#[test]
fn what_does_not_count_is_named_at_its_record() {
    let with = |because: &str, change: &dyn Fn(&mut Given)| {
        let mut story = Story::new(1, false);
        let signed = story.signed("alice", 1, change);
        story.approval().statements = vec![signed];
        story.broken_at(3, because);
    };
    with("another action", &|g| g.subject.action = Digest::of("deploy v3"));
    with("another attempt", &|g| g.subject.attempt = attempt("run-1", 2));
    with("another run", &|g| g.subject.run = RunId::new("run-2").unwrap());
    with("another ledger", &|g| g.subject.origin = "lar-ledger/other".into());
    with("another token", &|g| g.subject.token = "other".into());
    with("another policy", &|g| g.subject.policy = Digest::of("other"));
    with("another question", &|g| g.shown = Digest::of("other"));
    with("ran out at", &|g| g.until = 2);
    with("isn't listed", &|g| g.key = key(9));
    with("speaks for", &|g| g.name = "bob");
    with("says something else", &|g| g.word = Word::Deny);
}

#[test]
fn too_few_people_are_too_few() {
    let mut story = Story::new(2, false);
    story.approval().statements.pop();
    story.broken_at(3, "1 people signed it and 2 must");
    let mut story = Story::new(2, false);
    let again = story.signed("alice", 1, |given| given.nonce = 99);
    story.approval().statements[1] = again;
    story.broken_at(3, "counts once");
    let mut story = Story::new(2, false);
    let first = story.approval().statements[0].clone();
    story.approval().statements[1] = first;
    story.broken_at(3, "given before");
}

#[test]
fn an_approval_without_its_signatures_is_none() {
    let mut story = Story::new(1, false);
    story.approval().approver_identity = "os-user".into();
    story.broken_at(3, "isn't signed");
    let mut story = Story::new(1, false);
    story.approval().statements.clear();
    story.broken_at(3, "0 people signed it");
    let mut story = Story::new(1, false);
    story.approval().approver = "bob".into();
    story.broken_at(3, "something else");
    // Nor is one that names a policy of nobody.
    let mut story = Story::new(1, false);
    if let Body::RunOpen(open) = &mut story.bodies[0] {
        open.approvals.clear();
    }
    story.broken_at(3, "lists no approvers");
}

#[test]
fn an_approval_is_used_in_time_once_and_not_after_a_no() {
    let mut story = Story::new(1, false);
    let short = story.signed("alice", 1, |given| given.until = 3);
    story.approval().statements = vec![short];
    story.broken_at(4, "ran out at");
    let mut story = Story::new(1, false);
    let no = story.signed("bob", 2, |given| given.word = Word::Deny);
    let mut denied = story.approval().clone();
    (denied.approved, denied.approver, denied.statements) = (false, "bob".into(), vec![no]);
    story.bodies.insert(3, Body::Approval(denied));
    story.broken_at(5, "no approval that it could use");
}

#[test]
fn whoever_ran_it_is_told_from_the_record() {
    let mut story = Story::new(1, true);
    if let Body::RunOpen(open) = &mut story.bodies[0] {
        open.runner.as_mut().unwrap().names = vec!["alice".into()];
    }
    story.broken_at(3, "started the run");
    let mut story = Story::new(1, true);
    if let Body::RunOpen(open) = &mut story.bodies[0] {
        open.runner = None;
    }
    story.broken_at(3, "started the run");
    // Whoever approves and then goes on with it has approved their own run.
    let mut story = Story::new(1, true);
    let runner = Some(Runner { account: "alice".into(), names: Vec::new() });
    let resume = RunResume { fence: 2, reason: "gone".into(), runner };
    story.bodies.insert(3, Body::RunResume(resume));
    story.broken_at(5, "went on with the run");
}

#[test]
fn a_question_that_was_changed_is_another() {
    let mut story = Story::new(1, false);
    if let Body::ApprovalRequest(asked) = &mut story.bodies[1] {
        asked.question.as_mut().unwrap().lines[0].1.text = "app:v1".into();
    }
    story.broken_at(3, "another question");
}

#[test]
fn a_verifier_that_knows_the_people_believes_no_others() {
    let story = Story::new(1, false);
    let (alice, bob) = (line("alice", &key(1)), line("bob", &key(2)));
    assert!(story.report(&[&alice, &bob]).authenticity.is_ok());
    let report = story.report(&[&bob]);
    assert!(report.integrity.is_ok());
    let Finding::Broken { at, reason } = report.authenticity else { panic!("{report:?}") };
    assert_eq!(at, Some(3));
    assert!(reason.contains("alice") && reason.contains("doesn't name"), "{reason}");
    // And none that nobody signed.
    let mut story = Story::new(1, false);
    story.approval().approver_identity = "os-user".into();
    story.approval().statements.clear();
    if let Body::RunOpen(open) = &mut story.bodies[0] {
        open.approvals.clear();
    }
    let report = story.report(&[&alice]);
    assert!(matches!(report.authenticity, Finding::Absent { .. }), "{report:?}");
}
