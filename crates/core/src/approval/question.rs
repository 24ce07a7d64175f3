//! What is put before people, as data: it is recorded as it is shown, and shown from there.

use serde::{Deserialize, Serialize};

use super::ApprovalRequest;
use crate::json::{Digest, JsonRefusal};
use crate::redact::Redactor;

/// How much of one value is shown, in characters; the digest stands for the rest.
const SHOWN: usize = 4_000;

/// A question. Its texts are redacted and unescaped; whoever shows it must escape them
/// ([`display`](crate::display)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What is asked, in one line.
    pub message: Shown,
    /// The token.
    pub token_name: Shown,
    /// Its scope in words.
    pub scope: Shown,
    /// Uses of the token that are left, this one included.
    pub uses_left: u32,
    /// Exactly what will run, as labelled lines; empty when the model only asks a question.
    pub lines: Vec<(String, Shown)>,
    /// SHA-256 of what will run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action_digest: Option<Digest>,
    /// What the kernel enforces on it, in words.
    pub confined: Shown,
    /// What the model says about it. It may be a lie.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rationale: Option<Shown>,
    /// Scopes to choose from, when a further capability is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub choices: Vec<Shown>,
    /// 32 random bytes, where the record commits to the question: its digest, which people sign, then tells
    /// nothing to whoever guesses what was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub salt: Option<String>,
}

/// A value, as much of it as is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Its beginning.
    pub text: String,
    /// How many characters are left out after it.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub left_out: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Shown {
    fn of(value: &str, redactor: &Redactor) -> Self {
        let value = redactor.redact(value);
        let (text, rest) = match value.char_indices().nth(SHOWN) {
            Some((end, _)) => value.split_at(end),
            None => (value.as_ref(), ""),
        };
        Self { text: text.to_owned(), left_out: rest.chars().count() as u64 }
    }
}

impl Question {
    /// What is shown of a request: secrets removed, long values cut and what is cut counted.
    pub fn of(request: &ApprovalRequest, redactor: &Redactor, confined: &str) -> Self {
        let shown = |value: &str| Shown::of(value, redactor);
        Self {
            message: shown(&request.message),
            token_name: shown(&request.token_name),
            scope: shown(&request.scope),
            uses_left: request.uses_left,
            lines: request
                .lines
                .iter()
                .map(|(label, value)| (label.clone(), shown(value)))
                .collect(),
            action_digest: request.action_digest,
            confined: shown(confined),
            rationale: request.rationale.as_deref().map(shown),
            choices: request.choices.iter().map(|choice| shown(choice)).collect(),
            salt: None,
        }
    }

    /// How many characters of it are not shown.
    pub fn left_out(&self) -> u64 {
        let values = [&self.message, &self.token_name, &self.scope, &self.confined];
        let lines = self.lines.iter().map(|(_, value)| value);
        let all = values.into_iter().chain(lines).chain(&self.rationale).chain(&self.choices);
        all.fold(0, |sum, value| sum.saturating_add(value.left_out))
    }

    /// SHA-256 of the canonical form: what a signed statement names as what was shown.
    pub fn digest(&self) -> Result<Digest, JsonRefusal> {
        Digest::of_value(self)
    }
}
