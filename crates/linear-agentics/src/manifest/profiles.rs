//! The profiles that a manifest names. Their files are read by whoever reads the manifest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lar_core::json::Digest;
use lar_core::scope::profile::Profiles;
use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::model::ProfileTable;
use super::read::{Reader, property};
use super::value::{resolve, shown};
use super::walk::Place;

/// Reads a file that a manifest names, whole; or says why not, as the end of a sentence.
pub type Load<'l> = &'l dyn Fn(&Path) -> Result<Vec<u8>, String>;

/// For readers that open no file.
pub(super) fn none(_: &Path) -> Result<Vec<u8>, String> {
    Err("can't be read here".to_owned())
}

impl Reader<'_> {
    /// Reads the profiles, so that tokens are judged by them.
    pub(super) fn profiles(&mut self, root: &DeTable<'_>) -> Arc<Profiles> {
        let mut profiles = Profiles::shipped();
        let schema = property("profile").and_then(|schema| schema.get("items"));
        for item in self.items(root, "profile") {
            let before = self.sink.count();
            if let Some(schema) = schema {
                let place = Place::new("profile", "`[[profile]]`");
                self.walker().value(schema, item, "profile", &place);
            }
            if self.sink.count() > before {
                continue;
            }
            if let Some(table) = self.take::<ProfileTable>(item)
                && let Err(why) = self.profile(&table, &mut profiles)
            {
                self.sink.push(Diagnostic::new(Spanned::span(item), why));
            }
        }
        Arc::new(profiles)
    }

    /// What a file holds that the manifest names, or why it can't be read.
    fn bytes_of(&self, file: &str) -> Result<Vec<u8>, String> {
        let name = shown(file);
        let path = resolve(self.base, file).map_err(|why| format!("`{name}`: {why}"))?;
        (self.load)(&PathBuf::from(path)).map_err(|why| format!("`{name}` {why}"))
    }

    /// The same, where it must be text.
    pub(super) fn text_of(&self, file: &str) -> Result<String, String> {
        String::from_utf8(self.bytes_of(file)?)
            .map_err(|_| format!("`{}` is not UTF-8", shown(file)))
    }

    fn profile(&self, table: &ProfileTable, profiles: &mut Profiles) -> Result<(), String> {
        let file = shown(&table.file);
        let bytes = self.bytes_of(&table.file)?;
        let found = Digest::of(&bytes).to_string();
        if let Some(named) = &table.sha256
            && *named != found
        {
            return Err(format!(
                "`{file}` is not the file whose SHA-256 stands here; it has {found}. Look at what \
                 changed before you write that down"
            ));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("`{file}` is not UTF-8"))?;
        profiles.add(&table.file, &text, table.sha256.is_some()).map_err(|error| error.to_string())
    }
}
