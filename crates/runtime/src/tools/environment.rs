//! The environment of a child: what is named and what makes its program safe, and nothing else. The runtime's own keys are not among
//! it, whatever a token names.

use std::ffi::OsString;
use std::sync::Arc;

use lar_core::scope::profile::Profile;

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

/// Adds what the profiles of the programs that run set, such as `GIT_CONFIG_NOSYSTEM=1`. What the token
/// names is the person's own choice and stays.
pub(super) fn make_safe(
    environment: &mut Vec<(OsString, OsString)>,
    profiles: &[Arc<Profile>],
    named: &[String],
) {
    for (name, value) in profiles.iter().flat_map(|profile| profile.settings()) {
        if named.contains(name) {
            continue;
        }
        environment.retain(|(held, _)| held.to_str() != Some(name));
        environment.push((name.into(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use lar_core::scope::command::{Command, CommandScope};

    use super::*;

    #[test]
    fn a_programs_settings_are_made_unless_the_token_names_them() {
        let scope = CommandScope::new(["timeout 5 git log".to_owned()]).unwrap();
        let profiles = scope.profiles_of(&Command::parse("timeout 5 git log -1").unwrap());
        let names: Vec<_> = profiles.iter().map(|profile| profile.name()).collect();
        assert_eq!(names, ["timeout", "git"]);
        let mut environment = vec![("GIT_PAGER".into(), "evil".into()), ("A".into(), "b".into())];
        make_safe(&mut environment, &profiles, &["GIT_CONFIG_GLOBAL".to_owned()]);
        let get = |name: &str| {
            let mut found = environment.iter().filter(|(held, _)| held == name);
            let value = found.next().map(|(_, value)| value.to_str().unwrap());
            assert!(found.next().is_none(), "{name} stands there twice");
            value
        };
        assert_eq!(get("GIT_CONFIG_NOSYSTEM"), Some("1"));
        assert_eq!(get("GIT_PAGER"), Some("cat"));
        assert_eq!(get("GIT_CONFIG_GLOBAL"), None);
        assert_eq!(get("A"), Some("b"));
    }
}
