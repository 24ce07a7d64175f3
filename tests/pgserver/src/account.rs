//! Which account a server runs as: the test's own, but never root, which PostgreSQL refuses.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The account, where it isn't the test's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    pub(crate) fn for_server() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Account(None);
        }
        // passwd(5): name, password, user, group, ...
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let find = |name: &str| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == name).then_some(())?;
                Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
            })
        };
        let found = find("postgres").or_else(|| find("nobody"));
        Account(Some(found.expect("root may not run PostgreSQL, and there is no account `nobody`")))
    }

    /// Hands a file or directory to the account.
    pub(crate) fn give(self, path: &Path) {
        if let Account(Some((user, group))) = self {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// A program that runs as the account, with an environment that says nothing of the test's.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("LC_ALL", "C");
        if let Account(Some((user, group))) = self {
            command.uid(user).gid(group);
        }
        command
    }
}
