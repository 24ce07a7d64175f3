//! Who may approve: for the whole manifest, and for single tokens.

use std::ops::Range;

use lar_core::approval::{Approvers, ApproversError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::build::Builder;
use super::diagnostic::Diagnostic;
use super::kinds::Common;
use super::model::ApprovalTable;
use super::read::{Reader, find};

/// Where in a table the blame lies.
fn place(table: &DeTable<'_>, names: [&str; 2], error: &ApproversError) -> Option<Range<usize>> {
    let [keys, required] = names;
    let value = table.get(if error.field == "required" { required } else { keys });
    let value = value.or_else(|| table.get(keys))?;
    let item = match (value.get_ref(), error.index) {
        (DeValue::Array(items), Some(index)) => items.get(index).map(Spanned::span),
        _ => None,
    };
    Some(item.unwrap_or_else(|| value.span()))
}

impl Reader<'_> {
    /// Who may approve by a signature where a token says nothing itself; `None` when something is wrong.
    pub(super) fn approvers(
        &mut self,
        approval: Option<&ApprovalTable>,
        root: &DeTable<'_>,
    ) -> Option<Option<Approvers>> {
        let Some(approval) = approval else { return Some(None) };
        let table = match root.get("approval").map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table,
            _ => return Some(None),
        };
        let Some(lines) = &approval.approvers else {
            for key in ["required", "not_the_runner"] {
                if let Some(span) = find(root, &["approval", key]).map(Spanned::span) {
                    let message =
                        format!("`{key}` says how listed people approve, and none are listed");
                    let help = "list their public keys under `approvers`; without them whoever sits at \
                                the run's own terminal approves";
                    self.sink.push(Diagnostic::new(span, message).help(help));
                    return None;
                }
            }
            return Some(None);
        };
        let (required, other) = (approval.required, approval.not_the_runner);
        match Approvers::new(lines, required.unwrap_or(1), other.unwrap_or(false)) {
            Ok(approvers) => Some(Some(approvers)),
            Err(error) => {
                let span = place(table, ["approvers", "required"], &error);
                let message = format!("`{}` under `[approval]`: {error}", error.field);
                self.sink.push(Diagnostic::new(span, message));
                None
            }
        }
    }
}

impl Builder<'_, '_, '_> {
    /// Who may approve the uses of this token; `None` when something is wrong.
    pub(super) fn approvers(&mut self, common: &Common) -> Option<Option<Approvers>> {
        let Some(lines) = &common.approvers else {
            let stray = [
                ("required_approvals", common.required_approvals.is_some()),
                ("not_the_runner", common.not_the_runner.is_some()),
            ];
            if let Some((key, _)) = stray.iter().find(|(_, stands)| *stands) {
                let why = "says how the people of `approvers` approve, and the token lists none";
                self.fail(self.field(key), key, why);
                return None;
            }
            return Some(None);
        };
        if common.requires_approval != Some(true) {
            let why = "nobody is asked unless `requires_approval` is true";
            self.fail(self.field("approvers"), "approvers", why);
            return None;
        }
        let other = common.not_the_runner.unwrap_or(self.reader.not_the_runner);
        match Approvers::new(lines, common.required_approvals.unwrap_or(1), other) {
            Ok(approvers) => Some(Some(approvers)),
            Err(error) => {
                let names = ["approvers", "required_approvals"];
                let span = place(self.table, names, &error).unwrap_or_else(|| self.value.span());
                let field = if error.field == "required" { names[1] } else { names[0] };
                self.fail(span, field, &error.to_string());
                None
            }
        }
    }
}
