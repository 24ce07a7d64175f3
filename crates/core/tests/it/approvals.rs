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

mod offline;

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
