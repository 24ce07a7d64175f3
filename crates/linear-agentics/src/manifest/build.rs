//! From a token's table to the token. What a builder refuses is told at the value that is to blame.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use lar_core::scope::command::{CommandScope, PrefixErrorKind};
use lar_core::scope::deploy::fill;
use lar_core::scope::{FileMode, FileScope, Scope};
use lar_core::time::Timestamp;
use lar_core::token::{
    DeployToken, FileToken, HttpToken, ShellToken, Token, TokenError, WaitToken,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::kinds::{
    Common, DeployTable, FileTable, HttpTable, Method, Mode, ShellTable, WaitTable,
};
use super::read::Reader;
use super::value::{DurationText, duration, inside, resolve};

/// Makes the token of a table whose shape was judged; `label` is what messages call it.
pub(super) fn token(
    reader: &mut Reader<'_>,
    value: &Spanned<DeValue<'_>>,
    label: &str,
) -> Option<Token> {
    let DeValue::Table(table) = value.get_ref() else {
        return None;
    };
    let kind = table.get("kind").and_then(|kind| kind.get_ref().as_str())?;
    let mut builder = Builder { reader, value, table, label };
    match kind {
        "shell" => builder.shell(),
        "http" => builder.http(),
        "file" => builder.file(),
        "deploy" => builder.deploy(),
        "secret" => builder.secret(),
        "wait" => builder.wait(),
        "database" => builder.database(),
        _ => None,
    }
}

/// Hands what every kind has to a builder.
macro_rules! with_common {
    ($self:ident, $builder:ident, $common:expr) => {
        let common: Common = $common;
        if let Some(uses) = common.max_uses {
            $builder = $builder.max_uses(uses);
        }
        if let Some(yes) = common.requires_approval {
            $builder = $builder.requires_approval(yes);
        }
        if let Some(approvers) = $self.approvers(&common)? {
            $builder = $builder.approvers(approvers);
        }
        if let Some(yes) = common.required {
            $builder = $builder.required(yes);
        }
        if let Some(moment) = common.expires {
            $builder = $builder.expires($self.moment(&moment.0)?);
        }
        if let Some(crate::manifest::kinds::WitnessWord::BeforeEffect) = common.witness {
            $builder = $builder.witness(lar_core::token::Witness::BeforeEffect);
        }
        for example in common.allows {
            $builder = $builder.allows(example);
        }
        for example in common.refuses {
            $builder = $builder.refuses(example);
        }
    };
}
pub(super) use with_common;

/// Hands what a token's programs may reach to a builder.
macro_rules! with_reach {
    ($self:ident, $builder:ident, $table:expr) => {
        for endpoint in &$table.network {
            $builder = $builder.network(endpoint);
        }
        for path in $self.places("writes", &$table.writes)? {
            $builder = $builder.writes(path);
        }
        for path in $self.places("reads", &$table.reads)? {
            $builder = $builder.reads(path);
        }
        for program in $self.places("also_runs", &$table.also_runs)? {
            $builder = $builder.also_runs(program);
        }
    };
}

/// One token's table, and what messages call it.
pub(super) struct Builder<'b, 'r, 't> {
    pub reader: &'b mut Reader<'r>,
    pub value: &'b Spanned<DeValue<'t>>,
    pub table: &'b DeTable<'t>,
    pub label: &'b str,
}

impl Builder<'_, '_, '_> {
    fn shell(&mut self) -> Option<Token> {
        let table: ShellTable = self.reader.take(self.value)?;
        let mut good = self.prefixes(&table.allowed);
        let mut builder = ShellToken::new(&table.name, table.allowed.iter().cloned())
            .profiles(Arc::clone(&self.reader.profiles));
        with_common!(self, builder, table.common());
        match table.timeout.as_ref().map(|timeout| self.duration(timeout)) {
            Some(Some(timeout)) => builder = builder.timeout(timeout),
            Some(None) => good = false,
            None => {}
        }
        for name in table.env {
            builder = builder.env(name);
        }
        match table.workdir.map(|path| self.path("workdir", 0, &path)) {
            Some(Some(path)) => builder = builder.workdir(path),
            Some(None) => good = false,
            None => {}
        }
        if !good {
            return None;
        }
        with_reach!(self, builder, table);
        self.built(builder.build())
    }

    /// Judges each prefix by itself, so that all that are wrong are told at once.
    fn prefixes(&mut self, allowed: &[String]) -> bool {
        let before = self.reader.sink.count();
        for (index, prefix) in allowed.iter().enumerate() {
            let one = CommandScope::with_profiles([prefix.clone()], &self.reader.profiles);
            let Err(mut error) = one else {
                continue;
            };
            error.index = index;
            let span = self.element("allowed", index);
            let literal = self.reader.text.get(span.clone()).unwrap_or_default();
            let place = error
                .span()
                .and_then(|part| inside(literal, prefix, &part))
                .map(|part| span.start + part.start..span.start + part.end);
            let message = format!("{}: {error}", self.label);
            let mut one = Diagnostic::new(place.unwrap_or(span), message);
            if matches!(error.kind, PrefixErrorKind::NeedsShell(_)) {
                one = one.help("a command is never given to a shell, so a prefix can't need one");
            }
            self.reader.sink.push(one);
        }
        self.reader.sink.count() == before
    }

    fn http(&mut self) -> Option<Token> {
        let table: HttpTable = self.reader.take(self.value)?;
        let mut builder = HttpToken::new(&table.name, &table.url, table.methods.iter().cloned());
        with_common!(self, builder, table.common());
        if let Some(timeout) = &table.timeout {
            builder = builder.timeout(self.duration(timeout)?);
        }
        if let Some(bytes) = table.max_body {
            builder = builder.max_body(bytes);
        }
        for (name, value) in table.headers {
            builder = builder.header(name, value);
        }
        if let Some(file) = &table.tls_roots {
            match self.reader.text_of(file) {
                Ok(pem) => builder = builder.tls_roots(pem),
                Err(why) => {
                    let place = self.table.get("tls_roots").map(Spanned::span);
                    let message = format!("{}: {why}", self.label);
                    let place = place.unwrap_or_else(|| self.value.span());
                    self.reader.sink.push(Diagnostic::new(place, message));
                    return None;
                }
            }
        }
        self.built(builder.build())
    }

    fn file(&mut self) -> Option<Token> {
        let table: FileTable = self.reader.take(self.value)?;
        let mode = match table.mode {
            Mode::Read => FileMode::Read,
            Mode::Write => FileMode::Write,
            Mode::ReadWrite => FileMode::ReadWrite,
        };
        let mut good = true;
        let paths: Vec<Option<String>> = table
            .allowed_paths
            .iter()
            .enumerate()
            .map(|(index, path)| self.path("allowed_paths", index, path))
            .collect();
        for (index, path) in paths.iter().enumerate() {
            // Each by itself, so that the message points at the one that is wrong.
            if let Some(path) = path
                && let Err(error) = FileScope::new(std::slice::from_ref(path), mode)
            {
                let span = self.element("allowed_paths", index);
                self.reader.sink.push(Diagnostic::new(span, format!("{}: {error}", self.label)));
                good = false;
            }
        }
        let paths: Vec<String> = paths.into_iter().collect::<Option<_>>().filter(|_| good)?;
        let mut builder = FileToken::new(&table.name, paths, mode);
        with_common!(self, builder, table.common());
        if let Some(bytes) = table.max_bytes {
            builder = builder.max_bytes(bytes);
        }
        self.built(builder.build())
    }

    fn deploy(&mut self) -> Option<Token> {
        let table: DeployTable = self.reader.take(self.value)?;
        let (others, method): (&[&str], _) = match table.method {
            Method::Kubectl => {
                let command = &["argv", "rollback_argv", "network", "writes", "reads", "also_runs"];
                (command, "command")
            }
            Method::Command => (&["namespace", "deployment", "container", "context"], "kubectl"),
        };
        let mut good = true;
        for other in others {
            if let Some((key, _)) = self.table.get_key_value(*other) {
                let message = format!("`{other}` belongs to `method = \"{method}\"`");
                self.reader
                    .sink
                    .push(Diagnostic::new(key.span(), format!("{}: {message}", self.label)));
                good = false;
            }
        }
        if !good {
            return None;
        }
        let (name, target, image) = (&table.name, &table.target, &table.image);
        let mut builder = match table.method {
            Method::Kubectl => DeployToken::kubectl(name, target, image),
            Method::Command => {
                let Some(argv) = &table.argv else {
                    let message = format!("`argv` is missing in {}", self.label);
                    let help =
                        "a deployment by `command` says what runs: `argv = [\"program\", …]`";
                    self.reader.sink.push(Diagnostic::new(self.value.span(), message).help(help));
                    return None;
                };
                DeployToken::command(name, target, image, argv.iter().cloned())
            }
        };
        with_common!(self, builder, table.common());
        if let Some(timeout) = &table.timeout {
            builder = builder.timeout(self.duration(timeout)?);
        }
        if let Some(argv) = table.rollback_argv {
            // The builder would blame `argv` for what stands here.
            let back = table.rollback_to.as_deref().unwrap_or(image);
            if let Err(TokenError::Field { message, .. }) = fill(&argv, back, target) {
                self.blame(TokenError::Field { field: "rollback_argv", message });
                return None;
            }
            builder = builder.rollback_argv(argv);
        }
        if let Some(image) = table.rollback_to {
            builder = builder.rollback_to(image);
        }
        if let Some(namespace) = table.namespace {
            builder = builder.namespace(namespace);
        }
        if let Some(deployment) = table.deployment {
            builder = builder.deployment(deployment);
        }
        if let Some(container) = table.container {
            builder = builder.container(container);
        }
        if let Some(context) = table.context {
            builder = builder.context(context);
        }
        with_reach!(self, builder, table);
        self.built(builder.build())
    }

    fn wait(&mut self) -> Option<Token> {
        let table: WaitTable = self.reader.take(self.value)?;
        let mut builder = WaitToken::new(&table.name, table.max_seconds);
        with_common!(self, builder, table.common());
        self.built(builder.build())
    }

    pub fn built(&mut self, token: Result<Token, TokenError>) -> Option<Token> {
        match token {
            Ok(token) => Some(token),
            Err(error) => {
                self.blame(error);
                None
            }
        }
    }

    /// Tells what a builder refused, at the value of the field that it names.
    pub fn blame(&mut self, error: TokenError) {
        let field = error.field();
        let mut message = match &error {
            TokenError::Name { message, .. } => format!("{}: {message}", self.label),
            _ => format!("{}: {error}", self.label),
        };
        let value = self.table.get(field);
        let span = match value.map(Spanned::get_ref) {
            // The element that the message quotes, or else the whole list.
            Some(DeValue::Array(items)) => {
                let quoted = |text: &str| message.contains(&format!("`{text}`"));
                let item = items.iter().find(|item| item.get_ref().as_str().is_some_and(quoted));
                item.map(Spanned::span)
            }
            Some(DeValue::Table(entries)) => {
                let quoted = |text: &str| message.contains(&format!("`{text}`"));
                let entry = entries.iter().find(|(key, _)| quoted(key.get_ref()));
                entry.map(|(key, _)| key.span())
            }
            Some(DeValue::String(text)) if field == "url" && text.contains('@') => {
                // What looks like a password isn't repeated.
                message = message.replace(&format!("`{text}`"), "this");
                None
            }
            _ => None,
        };
        let span = span.unwrap_or_else(|| self.field(field));
        self.reader.sink.push(Diagnostic::new(span, message));
    }

    /// Where the value of a field stands, or else the token.
    pub fn field(&self, field: &str) -> Range<usize> {
        self.table.get(field).unwrap_or(self.value).span()
    }

    /// Where an element of a list stands, or the value itself where it is no list.
    pub fn element(&self, field: &str, index: usize) -> Range<usize> {
        let item = match self.table.get(field).map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => items.get(index),
            _ => None,
        };
        item.map_or_else(|| self.field(field), Spanned::span)
    }

    pub fn fail(&mut self, span: Range<usize>, field: &str, why: &str) {
        let message = format!("{}: `{field}`: {why}", self.label);
        self.reader.sink.push(Diagnostic::new(span, message));
    }

    pub fn duration(&mut self, text: &DurationText) -> Option<std::time::Duration> {
        match duration(&text.0) {
            Ok(duration) => Some(duration),
            Err(why) => {
                self.fail(self.field("timeout"), "timeout", &why);
                None
            }
        }
    }

    pub fn moment(&mut self, text: &str) -> Option<Timestamp> {
        match text.parse::<Timestamp>() {
            Ok(moment) => Some(moment),
            Err(error) => {
                self.fail(self.field("expires"), "expires", &error.to_string());
                None
            }
        }
    }

    /// Paths of a list, as they are written: those that are relative begin at the manifest's directory
    /// when the run starts, so that hosts which have it in different places share one definition.
    fn places(&mut self, field: &str, paths: &[String]) -> Option<Vec<String>> {
        let sound = |(index, path): (usize, &String)| {
            // A home is known to the run alone.
            path.starts_with("~/") || self.path(field, index, path).is_some()
        };
        // All of them, so that all that are wrong are told at once.
        let wrong = paths.iter().enumerate().map(sound).filter(|sound| !sound).count();
        (wrong == 0).then(|| paths.to_vec())
    }

    pub fn path(&mut self, field: &str, index: usize, path: &str) -> Option<String> {
        let base: &Path = self.reader.base;
        let resolved = resolve(base, path).and_then(|path| match path.contains('\0') {
            true => Err("the path holds a NUL character".to_owned()),
            false => Ok(path),
        });
        match resolved {
            Ok(path) => Some(path),
            Err(why) => {
                self.fail(self.element(field, index), field, &why);
                None
            }
        }
    }
}

/// Whether anything inside is a shell scope; the inner one of a secret counts.
pub(super) fn shell_of(scope: &Scope) -> Option<&lar_core::scope::ShellScope> {
    match scope {
        Scope::Shell(shell) => Some(shell),
        Scope::Secret(secret) => shell_of(&secret.inner),
        Scope::Http(_)
        | Scope::File(_)
        | Scope::Deploy(_)
        | Scope::Rollback(_)
        | Scope::Database(_)
        | Scope::Wait(_) => None,
    }
}
