//! Why the strongest tier can't be had here, and how to get it.

use std::path::Path;

use lar_sandbox::{Probe, Tier};

/// A reason, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What stands in the way.
    pub reason: String,
    /// What to do, as lines; commands and file contents are ready to be copied.
    pub steps: Vec<String>,
}

/// What stands in the way of tier A. Empty when it can be had.
///
/// `read` gives the trimmed content of a file of the system, `program` is the file of this program.
pub fn advice(probe: &Probe, read: &dyn Fn(&str) -> Option<String>, program: &Path) -> Vec<Advice> {
    let mut all = Vec::new();
    if probe.tier == Tier::A {
        return all;
    }
    let is = |file: &str, value: &str| read(file).as_deref() == Some(value);
    if probe.landlock == 0 {
        all.push(Advice {
            reason: "the kernel offers no Landlock".to_owned(),
            steps: vec![
                "run Linux 6.12 or later, with `landlock` in the kernel's `lsm=` list".to_owned(),
                "in a container: the runtime's seccomp profile must allow `landlock_*`".to_owned(),
            ],
        });
    } else if probe.landlock < 6 {
        all.push(Advice {
            reason: format!("the kernel's Landlock has version {}; 6 is needed", probe.landlock),
            steps: vec!["run Linux 6.12 or later".to_owned()],
        });
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        let program = program.display();
        all.push(Advice {
            reason: "AppArmor keeps programs without a profile from user namespaces (Ubuntu 24.04)"
                .to_owned(),
            steps: vec![
                "give this program a profile: put this into /etc/apparmor.d/lar".to_owned(),
                "abi <abi/4.0>,".to_owned(),
                "include <tunables/global>".to_owned(),
                format!("profile lar {program} flags=(unconfined) {{"),
                "  userns,".to_owned(),
                "  include if exists <local/lar>".to_owned(),
                "}".to_owned(),
                "and load it: sudo apparmor_parser -r /etc/apparmor.d/lar".to_owned(),
            ],
        });
    }
    for (file, name) in [
        ("/proc/sys/user/max_user_namespaces", "user.max_user_namespaces"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone"),
    ] {
        if is(file, "0") {
            let value = if name.starts_with("user.") { "15000" } else { "1" };
            all.push(Advice {
                reason: format!("`{name}` is 0: there are no user namespaces"),
                steps: vec![
                    format!("sudo sysctl -w {name}={value}"),
                    "to keep it, put the same line into a file of /etc/sysctl.d".to_owned(),
                ],
            });
        }
    }
    let container = ["/.dockerenv", "/run/.containerenv"];
    if container.iter().any(|file| read(file).is_some()) {
        all.push(Advice {
            reason: "this is a container, whose runtime may forbid namespaces and cover parts of `/proc`"
                .to_owned(),
            steps: vec![
                "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined …"
                    .to_owned(),
                "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL …".to_owned(),
                "or run on the host, or accept tier B or C: `min_tier` in `[confinement]`, or \
                 `--min-tier`"
                    .to_owned(),
            ],
        });
    }
    if all.is_empty() {
        let why = probe.why_not(Tier::A).unwrap_or_else(|| "it was not tried".to_owned());
        all.push(Advice {
            reason: why,
            steps: vec![
                "accept less with `--min-tier`, or ask whoever runs this system".to_owned(),
            ],
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(landlock: i32, files: &[(&str, &str)]) -> String {
        let probe = Probe { tier: Tier::C, landlock, tried: Vec::new() };
        let read = |path: &str| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        };
        let all = advice(&probe, &read, Path::new("/usr/local/bin/lar"));
        let lines = all.iter().flat_map(|one| std::iter::once(&one.reason).chain(&one.steps));
        lines.map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_hindrance_is_named_with_what_to_do() {
        assert!(told(0, &[]).contains("no Landlock"));
        assert!(told(4, &[]).contains("version 4; 6 is needed"));
        let ubuntu = told(7, &[("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")]);
        assert!(ubuntu.contains("profile lar /usr/local/bin/lar flags=(unconfined) {"), "{ubuntu}");
        let none = told(7, &[("/proc/sys/user/max_user_namespaces", "0")]);
        assert!(none.contains("sysctl -w user.max_user_namespaces=15000"), "{none}");
        assert!(told(7, &[("/.dockerenv", "")]).contains("systempaths=unconfined"));
        assert!(told(7, &[]).contains("it was not tried"));
    }

    #[test]
    fn where_nothing_is_missing_nothing_is_said() {
        let probe = Probe { tier: Tier::A, landlock: 7, tried: Vec::new() };
        assert!(advice(&probe, &|_| Some("1".to_owned()), Path::new("/x")).is_empty());
    }
}
