//! Where profiles are found: those that are shipped, and those that stand beside a manifest.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::compile::compile;
use super::schema::File;
use super::{Profile, family};
use crate::json::Digest;

/// Files of the directory `profiles`, with their names.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../profiles/", $name, ".toml")))),*]
    };
}

/// The shipped files: their names and texts.
const SHIPPED: &[(&str, &str)] = files![
    "archives",
    "build",
    "cloud",
    "containers",
    "files",
    "find",
    "git",
    "http",
    "kubernetes",
    "languages",
    "remote",
    "sql",
    "system",
    "text",
    "wrappers",
];

/// A profile's text that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile `{file}`: {message}")]
pub struct ProfileError {
    /// The file, as it was named.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

type Read = Result<HashMap<String, Arc<Profile>>, ProfileError>;

/// The profiles that a set of tokens is judged by: the shipped ones, and those of a manifest before them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profiles {
    own: HashMap<String, Arc<Profile>>,
}

impl Profiles {
    /// The shipped profiles alone.
    pub fn shipped() -> Self {
        Self::default()
    }

    /// Adds the profiles of one file, which take the place of shipped ones of the same program.
    ///
    /// # Errors
    ///
    /// A text that is no TOML or says what no profile may say.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), ProfileError> {
        self.own.extend(read(file, text, false)?);
        Ok(())
    }

    /// The profile of a program, by its name or path. `None` where nothing is known of it.
    ///
    /// # Errors
    ///
    /// A shipped profile that can't be read, which the project's tests rule out.
    pub fn find(&self, program: &str) -> Result<Option<Arc<Profile>>, ProfileError> {
        let whole = program.rsplit('/').next().unwrap_or(program);
        for name in [whole, family(program)] {
            if let Some(profile) = self.own.get(name) {
                return Ok(Some(Arc::clone(profile)));
            }
            if let Some(profile) = shipped(name)? {
                return Ok(Some(profile));
            }
        }
        Ok(None)
    }

    /// Every shipped profile, in no order.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub fn all_shipped() -> Result<Vec<Arc<Profile>>, ProfileError> {
        let mut all = Vec::new();
        for index in 0..SHIPPED.len() {
            let Some(read) = file(index) else { continue };
            all.extend(read.as_ref().map_err(Clone::clone)?.values().cloned());
        }
        Ok(all)
    }
}

/// A shipped profile. Its file is read when it is first asked for, so that starting costs nothing.
fn shipped(name: &str) -> Result<Option<Arc<Profile>>, ProfileError> {
    let Some(read) = index().get(name).and_then(|at| file(*at)) else {
        return Ok(None);
    };
    Ok(read.as_ref().map_err(Clone::clone)?.get(name).cloned())
}

fn file(at: usize) -> Option<&'static Read> {
    static FILES: [OnceLock<Read>; SHIPPED.len()] = [const { OnceLock::new() }; SHIPPED.len()];
    let (name, text) = SHIPPED.get(at)?;
    Some(FILES.get(at)?.get_or_init(|| read(name, text, true)))
}

/// Which file holds a program, by a look at the headers alone: `[kubectl]`, then `names = ["oc"]`.
fn index() -> &'static HashMap<&'static str, usize> {
    static INDEX: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = HashMap::new();
        for (at, (_, text)) in SHIPPED.iter().enumerate() {
            let mut is_program = false;
            for line in text.lines() {
                if let Some(header) = line.strip_prefix('[') {
                    let header = header.trim_end_matches(']').trim_matches('"');
                    is_program = !header.contains('.');
                    if is_program {
                        index.insert(header, at);
                    }
                } else if is_program && let Some(names) = line.strip_prefix("names = [") {
                    let names = names.trim_end_matches(']').split(',');
                    index.extend(names.map(|name| (name.trim().trim_matches('"'), at)));
                }
            }
        }
        index
    })
}

fn read(file: &str, text: &str, is_shipped: bool) -> Read {
    let wrong = |message: String| ProfileError { file: file.to_owned(), message };
    let tables: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let digest = Digest::of(text.as_bytes());
    let mut all = HashMap::new();
    for (name, table) in tables {
        let profile = compile(&name, &table, digest, is_shipped).map_err(wrong)?;
        let profile = Arc::new(profile);
        for name in table.names.iter().chain([&name]) {
            if all.insert(name.clone(), Arc::clone(&profile)).is_some() {
                return Err(wrong(format!("`{name}` stands there twice; leave one out")));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_can_be_read_and_is_found_by_each_of_its_names() {
        let mut names = HashMap::new();
        for (at, (name, text)) in SHIPPED.iter().enumerate() {
            let read = file(at).unwrap().as_ref().unwrap_or_else(|error| panic!("{error}"));
            for program in read.keys() {
                assert_eq!(index().get(program.as_str()), Some(&at), "{name}: {program}");
                assert_eq!(names.insert(program.clone(), name), None, "{program} is in two files");
            }
            assert!(text.ends_with('\n'), "{name}");
        }
        assert_eq!(index().len(), names.len(), "the index names what no file holds");
    }
}
