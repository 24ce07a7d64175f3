//! Who may approve: SSH public keys, each under the name of a person, and how many people it takes.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use crate::display::visible;
use crate::json::{Digest, JsonRefusal};

/// The most keys that one list may have.
pub const MOST_KEYS: usize = 64;
/// The most people that one approval may take: their statements stand in one record.
pub const MOST_REQUIRED: u32 = 16;
/// The longest name of a person, in bytes.
const LONGEST_NAME: usize = 128;

/// A person's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApproverKey {
    principal: String,
    key: KeyData,
}

/// Who may approve the uses of a token, and how many of them must.
///
/// ```
/// use lar_core::approval::Approvers;
/// let alice = "alice@example.com ssh-ed25519 \
///     AAAAC3NzaC1lZDI1NTE5AAAAIBJGQzID8azteOHwZFGEZfjLPMqJq9hcBtCnoMi6Uzd1";
/// let approvers = Approvers::new([alice], 1, false)?;
/// assert_eq!(approvers.people(), ["alice@example.com"]);
/// assert!(Approvers::new([alice], 2, false).is_err());
/// # Ok::<(), lar_core::approval::ApproversError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Approvers {
    keys: Vec<ApproverKey>,
    required: u32,
    not_the_runner: bool,
}

/// The same as it is written and hashed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    approvers: Vec<String>,
    required: u32,
    not_the_runner: bool,
}

/// A list of approvers can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApproversError {
    /// The field of the manifest that is to blame: `approvers` or `required`.
    pub field: &'static str,
    /// Which of the keys, where it is one of them.
    pub index: Option<usize>,
    /// What is wrong, and what would do.
    pub message: String,
}

/// Who started a run, as far as that is known: the account, and names that stand for the same person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// The account that started it.
    pub account: String,
    /// Names of approvers that are the same person: given with `--runner`, or found because their key is
    /// in the ssh-agent of whoever started it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub names: Vec<String>,
}

impl Runner {
    /// Whether an approver is whoever started the run: one of the names, or the account itself, alone or
    /// before an `@`.
    pub fn is(&self, principal: &str) -> bool {
        let same = |name: &String| {
            name.eq_ignore_ascii_case(principal)
                || principal
                    .split_once('@')
                    .is_some_and(|(user, _)| name.eq_ignore_ascii_case(user))
        };
        same(&self.account) || self.names.iter().any(same)
    }
}

impl ApproverKey {
    /// Reads a line: `alice@example.com ssh-ed25519 AAAA…`, as in a file of allowed signers, or
    /// `ssh-ed25519 AAAA… alice@example.com`, as in a public key's file.
    pub fn read(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [first, second, third] = words.as_slice() else {
            return Err(format!(
                "`{}` is not a name and a public key; write `NAME TYPE KEY`, such as \
                 `alice@example.com ssh-ed25519 AAAA…`, without options",
                visible(line, 60)
            ));
        };
        // A public key's file has the name last.
        let (principal, kind, key) = match second.starts_with("AAAA") {
            true => (third, first, second),
            false => (first, second, third),
        };
        check_name(principal)?;
        const KNOWN: &str = "`ssh-ed25519`, `ecdsa-sha2-nistp256`, `sk-ssh-ed25519@openssh.com` and \
                             `sk-ecdsa-sha2-nistp256@openssh.com`";
        let read = PublicKey::from_openssh(&format!("{kind} {key}"));
        let read = read.map_err(|_| {
            format!(
                "the key of `{principal}` can't be read as a public key of type `{}`; the types are {KNOWN}",
                visible(kind, 60)
            )
        })?;
        let key = read.key_data().clone();
        let point = match &key {
            KeyData::Ed25519(key) => Some(key.as_ref()),
            KeyData::SkEd25519(key) => Some(key.public_key().as_ref()),
            KeyData::Ecdsa(ssh_key::public::EcdsaPublicKey::NistP256(_))
            | KeyData::SkEcdsaSha2NistP256(_) => None,
            _ => {
                return Err(format!(
                    "the key of `{principal}` is of type `{}`; the types are {KNOWN}",
                    key.algorithm()
                ));
            }
        };
        // A point of small order makes signatures that fit many messages.
        if let Some(point) = point
            && !ed25519_dalek::VerifyingKey::from_bytes(point).is_ok_and(|key| !key.is_weak())
        {
            return Err(format!("the key of `{principal}` is no sound Ed25519 key"));
        }
        Ok(Self { principal: (*principal).to_owned(), key })
    }

    /// The person.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The key.
    pub fn key(&self) -> &KeyData {
        &self.key
    }

    /// Whether the key lies in a security key, which tells whether a person was there.
    pub fn in_hardware(&self) -> bool {
        matches!(self.key, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    // What a file of allowed signers would take for a pattern, a list or an option is no name.
    let plain = |b: u8| b.is_ascii_graphic() && !br#",*?!"'\=#"#.contains(&b);
    if name.len() <= LONGEST_NAME && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!(
        "`{}` is no name of an approver; a name is printable ASCII such as `alice@example.com`, without \
         spaces, quotes and `, * ? ! = # \\`",
        visible(name, 60)
    ))
}

/// The line of a file of allowed signers, without options.
impl fmt::Display for ApproverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = PublicKey::new(self.key.clone(), "").to_openssh().map_err(|_| fmt::Error)?;
        write!(f, "{} {}", self.principal, key.trim_end())
    }
}

impl TryFrom<String> for ApproverKey {
    type Error = String;

    fn try_from(line: String) -> Result<Self, String> {
        Self::read(&line)
    }
}

impl From<ApproverKey> for String {
    fn from(key: ApproverKey) -> Self {
        key.to_string()
    }
}

impl Approvers {
    /// Checks and joins what a person wrote: the keys, how many people must approve, and whether whoever
    /// started the run may be one of them.
    pub fn new<T: AsRef<str>>(
        lines: impl IntoIterator<Item = T>,
        required: u32,
        not_the_runner: bool,
    ) -> Result<Self, ApproversError> {
        let wrong = |index, message| ApproversError { field: "approvers", index, message };
        let mut keys: Vec<ApproverKey> = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            let key = ApproverKey::read(line.as_ref()).map_err(|why| wrong(Some(index), why))?;
            // One key under two names would be two people to a count.
            if let Some(other) = keys.iter().find(|other| other.key == key.key) {
                let message = format!(
                    "the key of `{}` is that of `{}` too; a key belongs to one person",
                    key.principal, other.principal
                );
                return Err(wrong(Some(index), message));
            }
            if keys.len() == MOST_KEYS {
                return Err(wrong(Some(index), format!("at most {MOST_KEYS} keys fit")));
            }
            keys.push(key);
        }
        let approvers = Self { keys, required, not_the_runner };
        let people = approvers.people().len();
        let (message, field) = if people == 0 {
            ("names nobody; list the keys of those who may approve".to_owned(), "approvers")
        } else if required == 0 {
            ("0 approvals would be none; write 1 or more".to_owned(), "required")
        } else if required > MOST_REQUIRED {
            (format!("at most {MOST_REQUIRED} approvals can be required"), "required")
        } else if usize::try_from(required).is_ok_and(|required| required > people) {
            let people =
                if people == 1 { "1 person is".into() } else { format!("{people} people are") };
            (format!("{required} approvals are required and {people} listed"), "required")
        } else {
            return Ok(approvers);
        };
        Err(ApproversError { field, index: None, message })
    }

    /// The keys, in the order in which they were written.
    pub fn keys(&self) -> &[ApproverKey] {
        &self.keys
    }

    /// The people, each once.
    pub fn people(&self) -> Vec<&str> {
        let people: BTreeSet<&str> = self.keys.iter().map(ApproverKey::principal).collect();
        people.into_iter().collect()
    }

    /// How many people must approve.
    pub fn required(&self) -> u32 {
        self.required
    }

    /// Whether whoever started the run can't be one of them.
    pub fn not_the_runner(&self) -> bool {
        self.not_the_runner
    }

    /// SHA-256 of the canonical form: what a signed statement names as the policy.
    pub fn digest(&self) -> Result<Digest, JsonRefusal> {
        Digest::of_value(self)
    }

    /// Who must approve, in words.
    pub fn summary(&self) -> String {
        let people = self.people();
        let who = match (people.as_slice(), self.required) {
            ([one], _) => (*one).to_owned(),
            (people, required) if people.len() == required as usize => people.join(" and "),
            (people, required) => format!("{required} of {}", people.join(", ")),
        };
        let but = if self.not_the_runner { ", but not whoever started the run" } else { "" };
        format!("{who}{but}")
    }
}

impl TryFrom<Written> for Approvers {
    type Error = ApproversError;

    fn try_from(written: Written) -> Result<Self, ApproversError> {
        Self::new(written.approvers, written.required, written.not_the_runner)
    }
}

impl From<Approvers> for Written {
    fn from(approvers: Approvers) -> Self {
        Self {
            approvers: approvers.keys.iter().map(ApproverKey::to_string).collect(),
            required: approvers.required,
            not_the_runner: approvers.not_the_runner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::canonical;

    const ED: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBJGQzID8azteOHwZFGEZfjLPMqJq9hcBtCnoMi6Uzd1";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAINIvVRUEqzuxqLHw2iu6s+h3iZYaodI3pNtJ0PTvoSvZ";
    const EC: &str = "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBH7qfSlIMkK0xTv5mdrM7+vGBcdMSkDgb/d9JBjJvQBGKPNTXpe1eev9xs4VaXAcwhav8CFyKNRC79i690lF14Q=";

    #[test]
    fn both_spellings_are_one_key() {
        let signers = Approvers::new([format!("a@x ssh-ed25519 {ED}")], 1, false).unwrap();
        let file = Approvers::new([format!(" ssh-ed25519  {ED} a@x ")], 1, false).unwrap();
        assert_eq!(signers, file);
        let bytes = canonical(&file).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            format!(
                r#"{{"approvers":["a@x ssh-ed25519 {ED}"],"not_the_runner":false,"required":1}}"#
            )
        );
        assert_eq!(serde_json::from_slice::<Approvers>(&bytes).unwrap(), signers);
        assert!(Approvers::new([format!("b ecdsa-sha2-nistp256 {EC}")], 1, false).is_ok());
    }

    #[test]
    fn what_is_no_list_of_people_says_so() {
        let ed = format!("a@x ssh-ed25519 {ED}");
        let of = |lines: &[&str], required| {
            Approvers::new(lines, required, false).unwrap_err().to_string()
        };
        assert!(of(&[], 1).contains("names nobody"));
        assert!(of(&[&ed], 0).contains("write 1 or more"));
        assert!(of(&[&ed], 2).contains("1 person is listed"));
        // Two keys of one person are one person.
        assert!(of(&[&ed, &format!("a@x ssh-ed25519 {OTHER}")], 2).contains("1 person is listed"));
        assert!(of(&[&ed, &format!("b@x ssh-ed25519 {ED}")], 1).contains("belongs to one person"));
        for (line, says) in [
            ("a@x", "write `NAME TYPE KEY`"),
            (&format!("a@x namespaces=\"x\" ssh-ed25519 {ED}"), "without options"),
            (&format!("*@x ssh-ed25519 {ED}"), "no name of an approver"),
            (&format!("a,b ssh-ed25519 {ED}"), "no name of an approver"),
            (&format!("a ssh-ed25519 {EC}"), "can't be read"),
            ("a ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC", "can't be read"),
            (
                "a ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "no sound",
            ),
        ] {
            let said = of(&[line], 1);
            assert!(said.contains(says), "{line}: {said}");
        }
    }

    #[test]
    fn the_runner_is_known_by_account_and_by_name() {
        let runner = Runner { account: "alice".into(), names: vec!["bob@x.org".into()] };
        for same in ["alice", "Alice@anywhere.org", "bob@x.org"] {
            assert!(runner.is(same), "{same}");
        }
        for other in ["alicea@x", "bob", "bob@y.org", "carol@alice"] {
            assert!(!runner.is(other), "{other}");
        }
    }
}
