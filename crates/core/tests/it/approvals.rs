//! Signed approvals: what counts, and what is refused, as the runtime judges before the spend and a
//! verifier judges again.

use lar_core::approval::{
    Approvers, Case, Flaw, Judged, NAMESPACE, Ruling, Runner, Signed, Statement, Subject, Word,
    to_be_signed,
};
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::json::Digest;
use lar_core::time::Timestamp;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, PrivateKey};
use ssh_key::public::{KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, Signature};

pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub fn line(name: &str, key: &PrivateKey) -> String {
    format!("{name} {}", key.public_key().to_openssh().unwrap())
}

pub fn attempt(run: &str, turn: u64) -> AttemptId {
    AttemptId::at(&CallSite { run: RunId::new(run).unwrap(), turn, index: 0, part: Part::Call })
}

const NOW: i64 = 1_000_000;

fn approvers(required: u32) -> Approvers {
    let lines = [line("alice", &key(1)), line("bob", &key(2)), line("alice", &key(3))];
    Approvers::new(lines, required, false).unwrap()
}

fn subject(policy: &Approvers) -> Subject {
    Subject {
        origin: "lar-ledger/test".into(),
        run: RunId::new("run-1").unwrap(),
        token: "deploy".into(),
        attempt: attempt("run-1", 1),
        action: Digest::of(r#"{"action":{},"token":"deploy"}"#),
        policy: policy.digest().unwrap(),
    }
}

fn shown() -> Digest {
    Digest::of("as it was shown")
}

struct Given {
    subject: Subject,
    shown: Digest,
    word: Word,
    name: &'static str,
    until: i64,
    nonce: u8,
    key: PrivateKey,
}

fn given(policy: &Approvers) -> Given {
    let (subject, shown) = (subject(policy), shown());
    Given {
        subject,
        shown,
        word: Word::Approve,
        name: "alice",
        until: NOW + 1,
        nonce: 7,
        key: key(1),
    }
}

impl Given {
    fn statement(&self) -> Statement {
        let until = Timestamp::from_millis(self.until);
        self.subject.statement(self.shown, self.word, self.name, until, [self.nonce; 16])
    }

    fn sign(&self) -> Signed {
        Signed::with(&self.key, self.statement().to_text().unwrap()).unwrap()
    }
}

fn judge(policy: &Approvers, runners: &[Runner], all: &[Signed]) -> Judged {
    let subject = subject(policy);
    let now = Timestamp::from_millis(NOW);
    Case { approvers: policy, runners, subject: &subject, shown: &[shown()], now }.judge(all)
}

#[track_caller]
fn refused(policy: &Approvers, signed: Signed) -> Flaw {
    let judged = judge(policy, &[], &[signed]);
    assert_eq!(judged.ruling, Ruling::Waiting { by: vec![] });
    judged.flaws.into_iter().next().expect("it was taken").1
}

#[test]
fn a_yes_of_a_listed_person_for_this_counts() {
    let policy = approvers(1);
    let judged = judge(&policy, &[], &[given(&policy).sign()]);
    let until = Timestamp::from_millis(NOW + 1);
    let yes = Ruling::Yes { by: vec!["alice".into()], places: vec![0], not_after: until };
    assert_eq!(judged, Judged { ruling: yes, flaws: vec![] });
}

#[test]
fn a_yes_for_anything_else_is_refused() {
    let policy = approvers(1);
    let other = |change: &dyn Fn(&mut Given)| {
        let mut given = given(&policy);
        change(&mut given);
        refused(&policy, given.sign())
    };
    for (what, flaw) in [
        ("action", other(&|g| g.subject.action = Digest::of("deploy v3"))),
        ("attempt", other(&|g| g.subject.attempt = attempt("run-1", 2))),
        ("run", other(&|g| g.subject.run = RunId::new("run-2").unwrap())),
        ("ledger", other(&|g| g.subject.origin = "lar-ledger/other".into())),
        ("token", other(&|g| g.subject.token = "restart".into())),
        ("policy", other(&|g| g.subject.policy = approvers(2).digest().unwrap())),
        ("question", other(&|g| g.shown = Digest::of("something else"))),
    ] {
        assert_eq!(flaw, Flaw::OtherSubject(what));
    }
}

#[test]
fn a_yes_that_ran_out_is_refused_and_a_no_never_runs_out() {
    let policy = approvers(1);
    let late = Given { until: NOW - 1, ..given(&policy) };
    assert_eq!(
        refused(&policy, late.sign()),
        Flaw::Expired("alice".into(), Timestamp::from_millis(NOW - 1))
    );
    let no = Given { word: Word::Deny, ..late };
    let judged = judge(&policy, &[], &[no.sign()]);
    assert_eq!(judged.ruling, Ruling::No { by: "alice".into(), place: 0 });
}

#[test]
fn only_listed_keys_sign_and_each_for_its_own_person() {
    let policy = approvers(1);
    let unlisted = Given { key: key(9), ..given(&policy) };
    assert_eq!(refused(&policy, unlisted.sign()), Flaw::UnlistedKey);
    let other = Given { name: "bob", ..given(&policy) };
    assert_eq!(
        refused(&policy, other.sign()),
        Flaw::OtherPerson { said: "bob".into(), signed: "alice".into() }
    );
}

#[test]
fn a_signature_of_other_bytes_or_for_another_purpose_is_refused() {
    let policy = approvers(1);
    let good = given(&policy).sign();
    let other = Given { nonce: 8, ..given(&policy) }.sign();
    let swapped = Signed { signature: other.signature.clone(), ..good.clone() };
    assert_eq!(refused(&policy, swapped), Flaw::Forged("alice".into()));
    let text = good.statement.clone();
    let elsewhere = key(1).sign("file", HashAlg::Sha512, text.as_bytes()).unwrap();
    let elsewhere = elsewhere.to_pem(LineEnding::LF).unwrap();
    let refusal = refused(&policy, Signed { statement: text.clone(), signature: elsewhere });
    assert!(matches!(refusal, Flaw::NotASignature(_)), "{refusal}");
    for broken in ["", "x", &good.signature.replace("SIGNATURE", "SIGNATURES")] {
        let signature = broken.to_owned();
        let refusal = refused(&policy, Signed { statement: text.clone(), signature });
        assert!(matches!(refusal, Flaw::NotASignature(_)), "{refusal}");
    }
    // Both hashes that `ssh-keygen` knows.
    let short = key(1).sign(NAMESPACE, HashAlg::Sha256, text.as_bytes()).unwrap();
    let signature = short.to_pem(LineEnding::LF).unwrap();
    let judged = judge(&policy, &[], &[Signed { statement: text, signature }]);
    assert!(matches!(judged.ruling, Ruling::Yes { .. }));
}

#[test]
fn another_spelling_of_the_same_is_no_statement() {
    let policy = approvers(1);
    let text = given(&policy).sign().statement;
    for other in [
        format!("{text} "),
        text.replacen("\"approve\"", "\"appr\\u006fve\"", 1),
        text.replacen('{', "{\"action_digest\":\"x\",", 1),
        text.replacen("\"token\":", "\"more\":1,\"token\":", 1),
        text.replacen("lar-approval/v1", "lar-approval/v2", 1),
        text.replacen(&"07".repeat(16), &"0G".repeat(16), 1),
        text.replacen("\"alice\"", "7", 1),
        String::new(),
        "{".repeat(500),
    ] {
        let signed = Signed::with(&key(1), other).unwrap();
        let refusal = refused(&policy, signed);
        assert!(matches!(refusal, Flaw::NotAStatement(_)), "{refusal}");
    }
}

#[test]
fn a_person_counts_once_whatever_they_sign_with() {
    let policy = approvers(2);
    let first = given(&policy).sign();
    let other_key = Given { nonce: 8, key: key(3), ..given(&policy) }.sign();
    let judged = judge(&policy, &[], &[first.clone(), first.clone(), other_key]);
    assert_eq!(judged.ruling, Ruling::Waiting { by: vec!["alice".into()] });
    assert_eq!(judged.flaws, [(1, Flaw::Replayed), (2, Flaw::CountedBefore("alice".into()))]);
    let bob =
        Given { nonce: 9, name: "bob", key: key(2), until: NOW + 50, ..given(&policy) }.sign();
    let judged = judge(&policy, &[], &[first, bob]);
    let Ruling::Yes { by, not_after, .. } = judged.ruling else { panic!("{judged:?}") };
    assert_eq!(by, ["alice", "bob"]);
    assert_eq!(not_after, Timestamp::from_millis(NOW + 1), "it holds as long as the first to end");
}

#[test]
fn a_no_outweighs_every_yes_before_and_after_it() {
    let policy = approvers(1);
    let yes = given(&policy).sign();
    let no =
        Given { word: Word::Deny, nonce: 8, name: "bob", key: key(2), ..given(&policy) }.sign();
    for order in [[yes.clone(), no.clone()], [no, yes.clone()]] {
        let judged = judge(&policy, &[], &order);
        assert!(matches!(judged.ruling, Ruling::No { ref by, .. } if by == "bob"), "{judged:?}");
    }
    // Of somebody who isn't listed it is nothing.
    let stranger = Given { word: Word::Deny, nonce: 8, key: key(9), ..given(&policy) }.sign();
    let judged = judge(&policy, &[], &[yes, stranger]);
    assert!(matches!(judged.ruling, Ruling::Yes { .. }), "{judged:?}");
}

#[test]
fn whoever_runs_it_approves_nothing_where_the_policy_says_so() {
    let lines = [line("alice", &key(1)), line("bob@example.com", &key(2))];
    let policy = Approvers::new(lines, 1, true).unwrap();
    let alice = given(&policy).sign();
    let runner = |account: &str, names: &[&str]| Runner {
        account: account.into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    for runners in [
        vec![],
        vec![runner("alice", &[])],
        vec![runner("ci", &["alice"])],
        vec![runner("ci", &[]), runner("ALICE", &[])],
    ] {
        let judged = judge(&policy, &runners, std::slice::from_ref(&alice));
        assert_eq!(judged.flaws, [(0, Flaw::Runner("alice".into()))], "{runners:?}");
    }
    let judged = judge(&policy, &[runner("bob", &[])], std::slice::from_ref(&alice));
    assert!(matches!(judged.ruling, Ruling::Yes { .. }), "{judged:?}");
    // Saying no is everybody's.
    let no = Given { word: Word::Deny, ..given(&policy) }.sign();
    let judged = judge(&policy, &[runner("alice", &[])], &[no]);
    assert!(matches!(judged.ruling, Ruling::No { .. }), "{judged:?}");
}

#[test]
fn p256_keys_sign_too() {
    let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let pair =
        EcdsaKeypair::NistP256 { public: secret.public_key().into(), private: secret.into() };
    let key = PrivateKey::from(pair);
    let policy = Approvers::new([line("carol", &key)], 1, false).unwrap();
    let signed = Given { name: "carol", key: key.clone(), ..given(&policy) }.sign();
    let judged = judge(&policy, &[], std::slice::from_ref(&signed));
    assert!(matches!(judged.ruling, Ruling::Yes { .. }), "{judged:?}");
    let other = Given { name: "carol", key, nonce: 8, ..given(&policy) }.sign();
    let swapped = Signed { signature: other.signature, ..signed };
    assert_eq!(refused(&policy, swapped), Flaw::Forged("carol".into()));
}

/// A security key, in software: what it signs is the application, the flags, a counter and the message
/// (PROTOCOL.u2f, "SSH U2F Signatures").
fn sk_sign(secret: &Ed25519Keypair, statement: &str, flags: u8, claimed: u8) -> (KeyData, Signed) {
    use sha2::{Digest as _, Sha256};
    let application = "ssh:";
    let message = to_be_signed(statement).unwrap();
    let mut data = Sha256::digest(application).to_vec();
    data.push(flags);
    data.extend(5u32.to_be_bytes());
    data.extend(Sha256::digest(&message));
    let signing = ed25519_dalek::SigningKey::from_bytes(&secret.private.to_bytes());
    let mut bytes = ed25519_dalek::Signer::sign(&signing, &data).to_bytes().to_vec();
    bytes.push(claimed);
    bytes.extend(5u32.to_be_bytes());
    let public = secret.public;
    let key = KeyData::SkEd25519(SkEd25519::new(public, application));
    let signature = Signature::new(Algorithm::SkEd25519, bytes).unwrap();
    let signed = Signed::join(statement.to_owned(), key.clone(), signature).unwrap();
    (key, signed)
}

#[test]
fn a_security_key_must_say_that_a_person_was_there_and_who() {
    let secret = Ed25519Keypair::from_seed(&[5; 32]);
    let public = secret.public;
    let key = PublicKey::new(KeyData::SkEd25519(SkEd25519::new(public, "ssh:")), "");
    let listed = format!("dave {}", key.to_openssh().unwrap());
    let policy = Approvers::new([listed], 1, false).unwrap();
    let given = Given { name: "dave", ..given(&policy) };
    let text = given.statement().to_text().unwrap();
    let (_, good) = sk_sign(&secret, &text, 0x05, 0x05);
    let judged = judge(&policy, &[], &[good]);
    assert!(matches!(judged.ruling, Ruling::Yes { .. }), "{judged:?}");
    for (flags, missing) in [(0x01, "whose finger"), (0x04, "a touch"), (0x00, "a touch")] {
        let (_, signed) = sk_sign(&secret, &text, flags, flags);
        let flaw = refused(&policy, signed).to_string();
        assert!(flaw.contains(missing), "{flags}: {flaw}");
    }
    // The flags are signed: what wasn't can't be claimed.
    let (_, claimed) = sk_sign(&secret, &text, 0x01, 0x05);
    assert_eq!(refused(&policy, claimed), Flaw::Forged("dave".into()));
}

/// The same of a security key that signs with ECDSA, as the older ones do: its signature is two numbers, each
/// with its length before it.
fn sk_ecdsa_sign(secret: &p256::SecretKey, statement: &str, flags: u8, claimed: u8) -> Signed {
    use p256::ecdsa::signature::Signer;
    use sha2::{Digest as _, Sha256};
    let mut data = Sha256::digest("ssh:").to_vec();
    data.push(flags);
    data.extend(5u32.to_be_bytes());
    data.extend(Sha256::digest(to_be_signed(statement).unwrap()));
    let made: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(secret).sign(&data);
    let mut bytes = Vec::new();
    for number in made.to_bytes().chunks(32) {
        let mut number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        if number.first().is_some_and(|first| *first >= 0x80) {
            number.insert(0, 0);
        }
        bytes.extend((number.len() as u32).to_be_bytes());
        bytes.extend(number);
    }
    bytes.push(claimed);
    bytes.extend(5u32.to_be_bytes());
    let signature = Signature::new(Algorithm::SkEcdsaSha2NistP256, bytes).unwrap();
    Signed::join(statement.to_owned(), sk_ecdsa_key(secret), signature).unwrap()
}

fn sk_ecdsa_key(secret: &p256::SecretKey) -> KeyData {
    KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(secret.public_key().into(), "ssh:"))
}

#[test]
fn a_security_key_that_signs_with_ecdsa_is_held_to_the_same() {
    let secret = p256::SecretKey::from_slice(&[6; 32]).unwrap();
    let key = PublicKey::new(sk_ecdsa_key(&secret), "");
    let policy = Approvers::new([format!("erin {}", key.to_openssh().unwrap())], 1, false).unwrap();
    let given = Given { name: "erin", ..given(&policy) };
    let text = given.statement().to_text().unwrap();
    let judged = judge(&policy, &[], &[sk_ecdsa_sign(&secret, &text, 0x05, 0x05)]);
    assert!(matches!(judged.ruling, Ruling::Yes { .. }), "{judged:?}");
    for (flags, missing) in [(0x01, "whose finger"), (0x04, "a touch"), (0x00, "a touch")] {
        let flaw = refused(&policy, sk_ecdsa_sign(&secret, &text, flags, flags)).to_string();
        assert!(flaw.contains(missing), "{flags}: {flaw}");
    }
    let claimed = sk_ecdsa_sign(&secret, &text, 0x01, 0x05);
    assert_eq!(refused(&policy, claimed), Flaw::Forged("erin".into()));
    let other = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    assert_eq!(refused(&policy, sk_ecdsa_sign(&other, &text, 0x05, 0x05)), Flaw::UnlistedKey);
}

/// The same again, offline: a run's records as they are exported.
mod offline {
    use lar_core::approval::{ApprovalRequest, Question};
    use lar_core::audit::note::KeyKind;
    use lar_core::audit::policy::Policy;
    use lar_core::audit::record::{
        Account, Approval, ApprovalPolicy, ApprovalRequested, Body, Intent, OutcomeRecord,
        RunClose, RunEnd, RunOpen, RunResume, TokenLine,
    };
    use lar_core::audit::verify::{Finding, Report};
    use lar_core::outcome::Verdict;
    use lar_core::redact::Redactor;

    use super::*;
    use crate::bundle::{Log, ORIGIN, signer, verify};

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
            story.bodies = vec![
                Body::RunOpen(RunOpen {
                    model: "replay".into(),
                    task: "deploy".into(),
                    runtime: "0".into(),
                    binary: None,
                    manifest: None,
                    grant: None,
                    budget: serde_json::json!({}),
                    tokens: vec![TokenLine {
                        name: "deploy".into(),
                        scope: "all".into(),
                        definition: Digest::of("definition"),
                        uses: 1,
                        requires_approval: true,
                        witness: None,
                    }],
                    enforcement: "fully".into(),
                    approvals: vec![ApprovalPolicy {
                        tokens: vec!["deploy".into()],
                        policy: story.policy.clone(),
                    }],
                    runner: Some(Runner { account: "ci".into(), names: Vec::new() }),
                }),
                Body::ApprovalRequest(ApprovalRequested {
                    token_name: "deploy".into(),
                    attempt,
                    action_digest: Some(action),
                    message: "may it?".into(),
                    shown: None,
                    question: Some(question(action)),
                }),
                Body::Approval(Approval {
                    token_name: "deploy".into(),
                    attempt,
                    action_digest: Some(action),
                    message: "may it?".into(),
                    approved: true,
                    approver: ["alice", "bob"][..required as usize].join(", "),
                    approver_identity: "ssh-key".into(),
                    statements,
                }),
                Body::Intent(Intent {
                    token_name: "deploy".into(),
                    scope: "all".into(),
                    tool: "deploy_app".into(),
                    attempt: story.subject().attempt,
                    args: serde_json::json!({}),
                    action_digest: action,
                    approval_seq: Some(3),
                }),
                Body::Outcome(OutcomeRecord {
                    token_name: "deploy".into(),
                    attempt: story.subject().attempt,
                    intent_seq: 4,
                    outcome: Some(Verdict::Succeeded),
                    reason: None,
                    result_summary: String::new(),
                    output_digest: Some(Digest::of(b"")),
                    output_bytes: 0,
                    stderr_digest: None,
                    exit_code: Some(0),
                    http_status: None,
                    program: None,
                    tier: None,
                    duration_ms: 1,
                }),
                Body::RunClose(RunClose {
                    stop_reason: "complete".into(),
                    end: RunEnd::default(),
                    tokens: vec![Account {
                        token_name: "deploy".into(),
                        granted: 1,
                        succeeded: 1,
                        failed: 0,
                        unknown: 0,
                        unused: 0,
                        expired: 0,
                        revoked: 0,
                        returned: 0,
                        elsewhere: 0,
                    }],
                    records: 6,
                }),
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
            let mut given =
                Given { subject, shown, word, name, until, nonce: seed, key: key(seed) };
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
}
