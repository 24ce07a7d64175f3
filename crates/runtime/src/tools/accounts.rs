//! Who the programs of a run are elsewhere: for each kubeconfig context, cloud profile and database that
//! a token names, what it stands for, and nothing of the others.
//!
//! All of it is found once, when the run starts, in the operator's own configuration and under the
//! operator's authority. A confined program gets files that hold this one choice, in a home of its own.

mod aws;
mod azure;
mod gcloud;
mod ini;
mod servers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lar_core::scope::Scope;
use lar_core::scope::needs::{Found, choice};
use lar_core::token::Token;
use secrecy::SecretString;

use super::deploy::{ClusterError, KubeconfigSource, Kubeconfigs};
use super::programs::Programs;

/// The name under which the redactor knows what is secret in here.
const SECRET_NAME: &str = "credential";

/// The longest configuration file that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// The operator's settings, from which everything is read.
#[derive(Debug, Clone, Default)]
pub struct Operator {
    env: BTreeMap<String, String>,
}

/// What a run's programs are elsewhere.
#[derive(Debug, Default)]
pub struct Accounts {
    kube: Kubeconfigs,
    found: Vec<Found>,
    clouds: BTreeMap<(String, Option<String>), Account>,
    secrets: Vec<SecretString>,
}

/// One profile or account, as a program of it will find it.
#[derive(Default)]
pub(in crate::tools) struct Account {
    /// Files beneath the home, and what they hold.
    pub(in crate::tools) files: Vec<(PathBuf, SecretString)>,
    /// Variables; `{home}` stands for where the files are.
    pub(in crate::tools) env: Vec<(&'static str, String)>,
    /// Variables that would lead elsewhere.
    pub(in crate::tools) without: &'static [&'static str],
    network: Vec<lar_core::scope::Endpoint>,
    /// As whom, in words.
    credential: String,
    secrets: Vec<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("credential", &self.credential).finish_non_exhaustive()
    }
}

impl Operator {
    /// The settings of this process.
    pub fn from_environment() -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { env: std::env::vars_os().filter_map(text).collect() }
    }

    /// These settings.
    pub fn of(env: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { env: env.into_iter().collect() }
    }

    /// A variable that is set and not empty.
    fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn home(&self) -> Option<&Path> {
        self.var("HOME").map(Path::new)
    }

    /// A file that a variable names, or one beneath the home.
    fn file(&self, variable: &str, beneath_home: &str) -> Option<PathBuf> {
        match self.var(variable) {
            Some(path) => Some(match (path.strip_prefix("~/"), self.home()) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => PathBuf::from(path),
            }),
            None => Some(self.home()?.join(beneath_home)),
        }
    }

    /// Where its kubeconfig is.
    pub(in crate::tools) fn kubeconfig(&self) -> KubeconfigSource {
        KubeconfigSource {
            kubeconfig: self.var("KUBECONFIG").map(OsString::from),
            home: self.var("HOME").map(OsString::from),
        }
    }

    /// The variables for a program that is run for the operator.
    fn plain(&self, programs: &Programs) -> Vec<(OsString, OsString)> {
        const OWN: [&str; 3] = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "PATH"];
        let kept = self.env.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        let pairs = kept.map(|(name, value)| (name.into(), value.into()));
        pairs.chain([("PATH".into(), programs.path())]).collect()
    }
}

impl Accounts {
    /// Finds what the programs of `tokens` need.
    ///
    /// # Errors
    /// [`ClusterError`] when a deployment's cluster can't be resolved. What only a command needs and is
    /// absent is no error: the program says so when it is run.
    pub async fn find(
        tokens: &[Token],
        programs: &Programs,
        operator: &Operator,
    ) -> Result<Self, ClusterError> {
        let source = operator.kubeconfig();
        let kube = Kubeconfigs::resolve(tokens, programs, &source).await?;
        let mut all = Self { found: kube.found(), kube, ..Self::default() };
        for token in tokens {
            for (need, choice, secrets) in needs(token) {
                all.secrets.extend(secrets.iter().filter_map(|name| {
                    operator.var(name).map(|value| SecretString::from(value.to_owned()))
                }));
                let key = (need.clone(), choice.clone());
                if all.clouds.contains_key(&key) {
                    continue;
                }
                let account = match need.as_str() {
                    "@aws" => aws::find(choice.as_deref(), operator, programs).await,
                    "@gcloud" => gcloud::find(choice.as_deref(), operator, programs).await,
                    "@azure" => azure::find(choice.as_deref(), operator),
                    program => {
                        let network = servers::of(program, operator);
                        let found = Found { need, choice, network, credential: None };
                        if !all.found.contains(&found) {
                            all.found.push(found);
                        }
                        continue;
                    }
                };
                all.found.push(Found {
                    need,
                    choice,
                    network: account.network.clone(),
                    credential: Some(account.credential.clone()),
                });
                all.secrets.extend(account.secrets.iter().cloned().map(SecretString::from));
                all.clouds.insert(key, account);
            }
        }
        Ok(all)
    }

    /// The same token with what was found stated, so that people see it and the digest of its actions
    /// covers it.
    #[must_use]
    pub fn pin(&self, token: Token) -> Token {
        self.kube.pin(token).with_scope(|mut scope| {
            let mut inner = &mut scope;
            while let Scope::Secret(secret) = inner {
                inner = &mut secret.inner;
            }
            if let Scope::Shell(shell) = inner {
                shell.found.clone_from(&self.found);
            }
            scope
        })
    }

    /// The credentials, for the redactor. What is too short for it is left out.
    pub fn secrets(&self) -> Vec<(&'static str, SecretString)> {
        use lar_core::redact::{MAX_SECRET_BYTES, MIN_SECRET_BYTES};
        use secrecy::ExposeSecret;
        let fits = |secret: &&SecretString| {
            let length = secret.expose_secret().len();
            (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&length)
        };
        let clouds = self.secrets.iter().filter(fits);
        let clouds = clouds.map(|secret| (SECRET_NAME, secret.clone()));
        self.kube.secrets().into_iter().chain(clouds).collect()
    }

    /// The kubeconfigs.
    pub(in crate::tools) fn kube(&self) -> &Kubeconfigs {
        &self.kube
    }

    /// The account that a command's program needs, by what its profile says.
    pub(in crate::tools) fn of(&self, need: &str, argv: &[String]) -> Option<&Account> {
        self.clouds.get(&(need.to_owned(), choice(need, argv)))
    }
}

/// What the programs of a token need, which of several, and the variables with secrets that they get.
fn needs(token: &Token) -> Vec<(String, Option<String>, Vec<String>)> {
    let mut scope = token.scope();
    while let Scope::Secret(secret) = scope {
        scope = &secret.inner;
    }
    let Scope::Shell(shell) = scope else { return Vec::new() };
    let mut all = Vec::new();
    for prefix in shell.commands.prefixes() {
        // What follows may name a server or a bucket, so that every need counts.
        for profile in prefix.profiles() {
            let needs = profile.needs();
            let secrets: Vec<String> =
                needs.env.iter().filter(|name| sounds_secret(name)).cloned().collect();
            let wanted = needs.network.iter().chain(&needs.files).filter_map(|need| {
                match need.split_once(':').map_or(need.as_str(), |(account, _)| account) {
                    account @ ("@aws" | "@gcloud" | "@azure") => Some(account.to_owned()),
                    "@config" => Some(profile.name().to_owned()),
                    _ => None,
                }
            });
            for need in wanted {
                let choice = choice(&need, prefix.words());
                all.push((need, choice, secrets.clone()));
            }
            if !secrets.is_empty() {
                all.push((profile.name().to_owned(), None, secrets));
            }
        }
    }
    all
}

/// A file of the operator's, as far as a configuration may be long.
fn read_text(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether a variable of this name holds a secret.
fn sounds_secret(name: &str) -> bool {
    ["PASSWORD", "PWD", "SECRET", "TOKEN", "AUTH"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lar_core::token::ShellToken;

    pub(super) fn operator(home: &Path, more: &[(&str, &str)]) -> Operator {
        let home = [("HOME", home.to_str().unwrap())];
        let all = home.iter().chain(more);
        Operator { env: all.map(|(name, value)| ((*name).into(), (*value).into())).collect() }
    }

    #[test]
    fn each_prefix_names_its_needs() {
        let token = ShellToken::new("t", ["aws --profile p s3 ls", "psql -c 'SELECT"]).build();
        let needs = needs(&token.unwrap());
        let named: Vec<(&str, Option<&str>)> =
            needs.iter().map(|(need, choice, _)| (need.as_str(), choice.as_deref())).collect();
        assert!(named.contains(&("@aws", Some("profile=p"))), "{named:?}");
        assert!(named.contains(&("psql", None)), "{named:?}");
        assert!(sounds_secret("PGPASSWORD") && sounds_secret("AWS_SECRET_ACCESS_KEY"));
        assert!(!sounds_secret("PGHOST") && !sounds_secret("AWS_REGION"));
    }

    #[tokio::test]
    async fn a_database_s_server_and_password_are_the_operator_s() {
        let token = ShellToken::new("t", ["psql -c 'SELECT"]).build().unwrap();
        let more = [("PGHOST", "db.test"), ("PGPORT", "5433"), ("PGPASSWORD", "hunter2hunter2")];
        let operator = operator(Path::new("/nowhere"), &more);
        let programs = Programs::new("/usr/bin:/bin".as_ref());
        let all = Accounts::find(std::slice::from_ref(&token), &programs, &operator).await.unwrap();
        use secrecy::ExposeSecret;
        assert_eq!(all.secrets()[0].1.expose_secret(), "hunter2hunter2");
        let pinned = all.pin(token.clone());
        let Scope::Shell(shell) = pinned.scope() else { panic!("not a shell") };
        assert_eq!(shell.found[0].network, ["db.test:5433".parse().unwrap()]);
        assert_eq!(pinned.digest().unwrap(), token.digest().unwrap(), "the token is the same");
    }
}
