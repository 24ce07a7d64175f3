//! `[audit]`: what the records commit to instead of saying it, and who time-stamps them.

use lar_core::audit::commitment::Part;
use toml::Spanned;
use toml::de::DeTable;
use url::Url;

use super::diagnostic::Diagnostic;
use super::model::{AuditTable, CommitName};
use super::read::{Reader, find};

impl Reader<'_> {
    /// What is committed to, and the authority.
    pub(super) fn audit(&mut self, root: &DeTable<'_>) -> (Vec<Part>, Option<Url>) {
        let table: AuditTable = self.part(root, "audit").unwrap_or_default();
        let mut parts: Vec<Part> = Vec::new();
        for name in table.commit {
            match name {
                CommitName::All => parts.extend(Part::ALL),
                CommitName::Args => parts.push(Part::Args),
                CommitName::Output => parts.push(Part::Output),
                CommitName::Words => parts.push(Part::Words),
                CommitName::Task => parts.push(Part::Task),
            }
        }
        parts.sort_unstable();
        parts.dedup();
        let authority = table.timestamp.as_deref().and_then(|address| {
            let url = Url::parse(address).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.host().is_some()
                    && url.password().is_none()
            });
            if url.is_none() {
                let span = find(root, &["audit", "timestamp"]).map(Spanned::span);
                let why =
                    "`timestamp` is the address of an authority, http or https, without a password";
                self.sink.push(Diagnostic::new(span, why));
            }
            url
        });
        (parts, authority)
    }
}
