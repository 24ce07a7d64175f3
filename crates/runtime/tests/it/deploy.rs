//! Deployments through the one path: a real `kubectl` against an API server on loopback, and
//! declared commands. `KUBECTL` names another `kubectl` than the one in PATH.

use std::path::PathBuf;

use libtest_mimic::Trial;

mod asked;
mod bench;
mod cluster;
mod declared;
mod rollout;

/// A test that is given a real `kubectl`.
type WithKubectl = (&'static str, fn(PathBuf));
/// A test that needs none.
type Without = (&'static str, fn());

/// All tests of deployments. Those that need `kubectl` are reported as ignored where there is none.
pub fn tests() -> Vec<Trial> {
    let kubectl = kubectl();
    let mut trials = Vec::new();
    for &(name, test) in
        [rollout::WITH_KUBECTL, asked::WITH_KUBECTL, cluster::WITH_KUBECTL].concat().iter()
    {
        let kubectl = kubectl.clone();
        let ignored = kubectl.is_none();
        let run = move || {
            test(kubectl.ok_or("there is no `kubectl`")?);
            Ok(())
        };
        trials.push(Trial::test(format!("deploy::{name}"), run).with_ignored_flag(ignored));
    }
    for &(name, test) in [cluster::WITHOUT, declared::WITHOUT].concat().iter() {
        trials.push(Trial::test(format!("deploy::{name}"), move || {
            test();
            Ok(())
        }));
    }
    trials
}

fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECTL") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file())
}
