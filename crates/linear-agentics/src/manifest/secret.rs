//! Secret tokens: where the value comes from, where it goes, and the token that it is put into.

use lar_core::token::{SecretToken, Token};
use toml::de::DeValue;

use super::build::{Builder, token, with_common};
use super::diagnostic::Diagnostic;
use super::kinds::{Common, Inner, SecretTable};

impl Builder<'_, '_, '_> {
    pub(super) fn secret(&mut self) -> Option<Token> {
        let table: SecretTable = self.reader.take(self.value)?;
        let one_of = [
            (("env", &table.env), ("file", &table.file), "where the secret comes from"),
            (("header", &table.header), ("inject_env", &table.inject_env), "where the secret goes"),
        ];
        let mut good = true;
        for ((first, a), (second, b), what) in one_of {
            let message = match (a, b) {
                (None, None) => {
                    format!("{} doesn't say {what}: `{first}` or `{second}`", self.label)
                }
                (Some(_), Some(_)) => {
                    format!("{} says twice {what}: `{first}` and `{second}`; keep one", self.label)
                }
                _ => continue,
            };
            let span = match b {
                Some(_) => self.field(second),
                None => self.value.span(),
            };
            self.reader.sink.push(Diagnostic::new(span, message));
            good = false;
        }
        let Inner = table.inner;
        let inner_value = self.table.get("inner")?;
        let label = format!("the inner token of {}", self.label);
        let inner = token(self.reader, inner_value, &label);
        let file = table.file.as_ref().map(|path| self.path("file", 0, path));
        let inner = inner.filter(|_| good)?;
        let mut builder = match (&table.env, file) {
            (Some(variable), _) => {
                self.variable("env", variable)?;
                SecretToken::from_env(&table.name, variable, inner.clone())
            }
            (None, Some(path)) => SecretToken::from_file(&table.name, &path?, inner.clone()),
            (None, None) => return None,
        };
        let mut common = table.common();
        // Neither the wrapper nor the inner token is ever read more widely than it was written.
        if let DeValue::Table(written) = inner_value.get_ref()
            && written.contains_key("max_uses")
        {
            let least = common.max_uses.unwrap_or(u32::MAX).min(inner.max_uses());
            common.max_uses = Some(least);
        }
        common.required = Some(common.required.unwrap_or(false) || inner.required());
        common.allows.extend(inner.examples().allows.iter().cloned());
        common.refuses.extend(inner.examples().refuses.iter().cloned());
        let expires = match &common.expires {
            Some(moment) => {
                let own = self.moment(&moment.0)?;
                Some(inner.expires().map_or(own, |inner| own.min(inner)))
            }
            None => inner.expires(),
        };
        common.expires = None;
        with_common!(self, builder, common);
        if let Some(expires) = expires {
            builder = builder.expires(expires);
        }
        if let Some(header) = table.header {
            builder = builder.header(header);
        }
        if let Some(variable) = table.inject_env {
            builder = builder.inject_env(variable);
        }
        if let Some(format) = table.format {
            builder = builder.format(format);
        }
        self.built(builder.build())
    }

    /// The name of a variable that the runtime reads itself; nothing is passed on under it.
    pub(super) fn variable(&mut self, field: &str, name: &str) -> Option<()> {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !name.is_empty() && plain && !name.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(());
        }
        self.fail(self.field(field), field, "is not the name of an environment variable");
        None
    }
}
