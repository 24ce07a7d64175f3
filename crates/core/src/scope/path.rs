//! The scope of a file token: which paths, to read or to write.
//!
//! What is judged here is the name. That the name leads nowhere else is the kernel's part: the
//! runtime opens it beneath the allowed path (`openat2(2)`, `RESOLVE_BENEATH`).

use serde::Serialize;

use crate::action::{FileAction, FileOperation};
use crate::error::Refusal;
use crate::token::{AttenuateError, TokenError};

/// How many bytes may be read or written when the token doesn't say: 1 MiB.
pub const DEFAULT_MAX_BYTES: u64 = 1 << 20;

/// What may be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileMode {
    /// Read only.
    Read,
    /// Write only.
    Write,
    /// Both.
    ReadWrite,
}

impl FileMode {
    /// Whether the mode covers the operation.
    pub fn covers(self, operation: FileOperation) -> bool {
        match operation {
            FileOperation::Read => matches!(self, Self::Read | Self::ReadWrite),
            FileOperation::Write => matches!(self, Self::Write | Self::ReadWrite),
        }
    }

    /// The mode's name, as in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
        }
    }
}

/// Files at or beneath the allowed paths.
#[derive(Debug, Clone, Serialize)]
pub struct FileScope {
    /// Absolute paths without `.` or `..`; a directory allows what is beneath it.
    pub allowed_paths: Vec<String>,
    /// Of these, only what lies at or beneath one of these paths; all when there are none. The
    /// allowed paths stay what is opened, so that what was narrowed can't lead elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// What may be done.
    pub mode: FileMode,
    /// The most bytes that are read or written.
    pub max_bytes: u64,
}

impl FileScope {
    /// Checks the paths. Relative ones must have been made absolute before.
    pub fn new(allowed_paths: &[String], mode: FileMode) -> Result<Self, TokenError> {
        let fail = |message: String| TokenError::Field { field: "allowed_paths", message };
        let allowed_paths = clean(allowed_paths).map_err(fail)?;
        Ok(Self { allowed_paths, only: Vec::new(), mode, max_bytes: DEFAULT_MAX_BYTES })
    }

    /// Keeps only what lies at or beneath one of these paths, each of which must lie within the scope.
    pub(crate) fn confine(&mut self, paths: &[String]) -> Result<(), AttenuateError> {
        let fail = |message: String| AttenuateError::Wider { field: "allowed_paths", message };
        let paths = clean(paths).map_err(fail)?;
        for path in &paths {
            self.locate(path).map_err(|refusal| fail(refusal.to_string()))?;
        }
        self.only = paths;
        Ok(())
    }

    /// What may be named, for people.
    pub fn paths(&self) -> &[String] {
        if self.only.is_empty() { &self.allowed_paths } else { &self.only }
    }

    /// Finds the allowed path that `path` lies at or beneath, and the rest of the way. A relative
    /// path is taken from the only allowed path.
    pub fn locate(&self, path: &str) -> Result<(String, String), Refusal> {
        let outside = || {
            Refusal::FileAccess(format!(
                "`{}` is not at or beneath {}",
                clip(path),
                self.paths().iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(" or ")
            ))
        };
        let parts = components(path)
            .map_err(|why| Refusal::FileAccess(format!("`{}` {why}", clip(path))))?;
        if !path.starts_with('/') {
            let [only] = self.allowed_paths.as_slice() else {
                return Err(Refusal::FileAccess(format!(
                    "`{}` is relative; give an absolute path",
                    clip(path)
                )));
            };
            let inside = format!("{only}/{}", parts.join("/"));
            if !self.keeps(&inside) {
                return Err(outside());
            }
            return Ok((only.clone(), parts.join("/")));
        }
        if !self.keeps(path) {
            return Err(outside());
        }
        // The longest allowed path wins, so that the most specific root is the one that is opened.
        let mut best: Option<(&String, Vec<&str>)> = None;
        for root in &self.allowed_paths {
            let inside: Vec<&str> = root.split('/').filter(|part| !part.is_empty()).collect();
            if let Some(rest) = parts.strip_prefix(inside.as_slice())
                && best.as_ref().is_none_or(|(held, _)| held.len() < root.len())
            {
                best = Some((root, rest.to_vec()));
            }
        }
        best.map(|(root, rest)| (root.clone(), rest.join("/"))).ok_or_else(outside)
    }

    /// Whether a plain path lies at or beneath one of those that were kept.
    fn keeps(&self, path: &str) -> bool {
        let parts = components(path).unwrap_or_default();
        let lies = |kept: &String| {
            let kept: Vec<&str> = kept.split('/').filter(|part| !part.is_empty()).collect();
            parts.starts_with(&kept)
        };
        self.only.is_empty() || self.only.iter().any(lies)
    }

    /// Whether the operation is within the scope.
    pub fn permits(&self, action: &FileAction) -> Result<(), Refusal> {
        if !self.mode.covers(action.operation) {
            return Err(Refusal::FileAccess(format!(
                "this token allows {} only; `{}` is not allowed",
                self.mode.as_str(),
                action.operation.as_str()
            )));
        }
        let whole = action.whole_path();
        let (root, rest) = self.locate(&whole)?;
        if (root.as_str(), rest.as_str()) != (action.root.as_str(), action.path.as_str()) {
            return Err(Refusal::FileAccess(format!("`{}` is not a plain path", clip(&whole))));
        }
        match &action.content {
            Some(content) if content.len() as u64 > self.max_bytes => {
                Err(Refusal::FileAccess(format!(
                    "the content has {} bytes; this token allows {}",
                    content.len(),
                    self.max_bytes
                )))
            }
            _ => Ok(()),
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!("{} {}", self.mode.as_str(), self.paths().join(", "))
    }
}

/// Absolute paths in their plain form, of which there must be one.
fn clean(paths: &[String]) -> Result<Vec<String>, String> {
    if paths.is_empty() {
        return Err("no path is listed; list at least one file or directory".to_owned());
    }
    let mut clean = Vec::new();
    for path in paths {
        if !path.starts_with('/') {
            return Err(format!("`{path}` is not an absolute path"));
        }
        let parts = components(path).map_err(|why| format!("`{path}` {why}"))?;
        if parts.is_empty() {
            return Err("`/` would allow every file; name a directory".to_owned());
        }
        clean.push(format!("/{}", parts.join("/")));
    }
    Ok(clean)
}

/// The parts of a path. `..` is refused rather than resolved: what it means depends on symbolic
/// links, and this crate sees none.
fn components(path: &str) -> Result<Vec<&str>, &'static str> {
    if path.is_empty() {
        return Err("is empty; name a file");
    }
    if path.len() > 4096 {
        return Err("is longer than 4,096 bytes");
    }
    if path.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("holds `..`; write the path without it");
    }
    Ok(parts)
}

fn clip(path: &str) -> String {
    let mut shown: String = path.chars().take(200).collect();
    if shown.len() < path.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> FileScope {
        FileScope::new(
            &["/etc/app/".into(), "/etc/app/conf.d".into(), "/srv/one.txt".into()],
            FileMode::Read,
        )
        .unwrap()
    }

    #[test]
    fn finds_the_most_specific_root() {
        let at = |path: &str| scope().locate(path);
        assert_eq!(at("/etc/app/a").unwrap(), ("/etc/app".into(), "a".into()));
        assert_eq!(at("/etc//app/./conf.d/x/y").unwrap(), ("/etc/app/conf.d".into(), "x/y".into()));
        assert_eq!(at("/srv/one.txt").unwrap(), ("/srv/one.txt".into(), String::new()));
    }

    #[test]
    fn what_is_outside_is_refused() {
        for bad in [
            "/etc/application",
            "/etc",
            "/etc/app/../passwd",
            "/srv/one.txt.bak",
            "",
            "/etc/app/\0",
            "/etc/app/a\nb",
            "relative",
            "../x",
        ] {
            assert!(scope().locate(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_relative_path_needs_a_single_root() {
        let scope = FileScope::new(&["/etc/app".into()], FileMode::Read).unwrap();
        assert_eq!(scope.locate("a/b").unwrap(), ("/etc/app".into(), "a/b".into()));
        assert!(scope.locate("a/../../b").is_err());
    }

    #[test]
    fn a_scope_of_everything_is_refused() {
        for bad in [vec![], vec!["/".to_owned()], vec!["etc".into()], vec!["/a/../b".into()]] {
            assert!(FileScope::new(&bad, FileMode::Read).is_err(), "{bad:?}");
        }
    }
}
