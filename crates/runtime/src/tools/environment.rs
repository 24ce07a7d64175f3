//! The environment of a child: what is named, and nothing else. The runtime's own keys are not among
//! it, whatever a token names.

use std::ffi::OsString;

/// Passed on when they are set; so is every `LC_*`.
const DEFAULT: [&str; 4] = ["HOME", "LANG", "TZ", "TERM"];

/// The child's environment: a fixed `PATH`, the default allow-list, and what the token names.
pub(super) fn of(path: &OsString, named: &[String]) -> Vec<(OsString, OsString)> {
    let mut environment = vec![("PATH".into(), path.clone())];
    for (name, value) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let listed = DEFAULT.contains(&text)
            || text.starts_with("LC_")
            || named.iter().any(|named| named == text);
        if listed && text != "PATH" {
            environment.push((name, value));
        }
    }
    environment
}
