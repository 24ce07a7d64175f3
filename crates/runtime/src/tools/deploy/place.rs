//! Where a `kubectl` lives while it runs: a private directory with the frozen kubeconfig and an empty
//! home, so that it neither reads nor leaves anything in the operator's.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lar_core::scope::{Endpoint, Reach};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::super::child::Order;
use super::super::programs::Programs;
use super::cluster::Frozen;
use crate::confine::Surroundings;

/// Keeps every `kubectl` from preferences files, those of version 1.33 and those of later ones.
pub(super) const PLAIN: [(&str, &str); 2] = [("KUBECTL_KUBERC", "false"), ("KUBERC", "off")];

/// A directory of our own for one attempt.
pub(in crate::tools) struct Place {
    pub(in crate::tools) home: PathBuf,
    pub(in crate::tools) config: PathBuf,
    server: Option<Endpoint>,
    /// The context that the kubeconfig holds.
    context: String,
    /// Removed with everything in it when this is dropped.
    _directory: TempDir,
}

impl Place {
    pub(in crate::tools) fn new(frozen: &Frozen) -> io::Result<Self> {
        let directory = private_directory()?;
        let (home, config) = (directory.path().join("home"), directory.path().join("config"));
        DirBuilder::new().mode(0o700).create(&home)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&config)?;
        file.write_all(frozen.config.expose_secret().as_bytes())?;
        let (server, context) = (frozen.server(), frozen.cluster.context.clone());
        Ok(Self { home, config, server, context, _directory: directory })
    }

    /// What a `kubectl` here may reach: its kubeconfig, and the server that it names.
    pub(in crate::tools) fn surroundings(&self) -> Surroundings {
        let reach = Reach {
            network: self.server.iter().cloned().collect(),
            reads: vec![self.config.to_string_lossy().into_owned()],
            ..Reach::default()
        };
        let home = Some(self.home.clone());
        Surroundings { reach, home, base: self.home.clone(), ..Surroundings::default() }
    }

    /// `kubectl VERB deployment…` here, with nothing of the operator's environment.
    pub(super) fn order(
        &self,
        programs: &Programs,
        verb: &[&str],
        (namespace, deployment): (&str, &str),
        rest: &[&str],
        timeout: Duration,
    ) -> Order {
        let mut argv = vec!["kubectl".to_owned()];
        argv.extend(verb.iter().map(|word| (*word).to_owned()));
        argv.push(format!("deployment.apps/{deployment}"));
        argv.push(format!("--namespace={namespace}"));
        argv.push(format!("--kubeconfig={}", self.config.display()));
        argv.push(format!("--context={}", self.context));
        argv.extend(rest.iter().map(|word| (*word).to_owned()));
        let mut env: Vec<(OsString, OsString)> =
            vec![("PATH".into(), programs.path()), ("HOME".into(), self.home.clone().into())];
        env.extend(PLAIN.map(|(name, value)| (name.into(), value.into())));
        let (workdir, around) = (self.home.clone(), self.surroundings());
        Order { argv, env, workdir, timeout, around }
    }
}

/// An empty directory of mode 0700, which goes when it is dropped.
pub(super) fn private_directory() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("lar-kubectl-").permissions(Permissions::from_mode(0o700));
    // Memory is a better place for credentials than a disk, where the system offers it.
    let memory = std::env::var_os("XDG_RUNTIME_DIR").filter(|held| Path::new(held).is_absolute());
    match memory.map(|held| builder.tempdir_in(held)) {
        Some(Ok(directory)) => Ok(directory),
        Some(Err(_)) | None => builder.tempdir(),
    }
}
