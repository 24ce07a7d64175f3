//! What a command may reach while it runs: what its token grants, and what the profiles of its programs
//! need. It is part of the action, so that people see it, the digest covers it, and the kernel holds the
//! program to the very same.

use std::str::FromStr;

use url::Url;

use super::command::{Command, CommandScope};
use super::endpoint::Endpoint;
use super::profile::Profile;
use super::secret::check_env_name;
use super::shell::ShellScope;
use crate::action::ShellAction;

/// What a program's need comes to where the run takes place: found when it starts, in the operator's
/// configuration. It belongs to the place and not to what was declared, so the token's digest leaves it
/// out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The need as profiles say it, such as `@kubeconfig` or `@aws`; for `@config` the program's name.
    pub need: String,
    /// Which of several is meant, as [`choice`] says; `None` is what the operator's settings choose.
    pub choice: Option<String>,
    /// Where it leads to.
    pub network: Vec<Endpoint>,
    /// As whom, in words for people.
    pub credential: Option<String>,
}

impl ShellScope {
    /// The action that a command comes down to.
    pub fn action(&self, command: Command) -> ShellAction {
        let mut action = ShellAction {
            command,
            workdir: self.workdir.clone(),
            env: self.env.clone(),
            network: self.reach.network.clone(),
            writes: self.reach.writes.clone(),
            credentials: Vec::new(),
        };
        for profile in self.commands.profiles_of(&action.command) {
            self.add_needs(&profile, &mut action);
        }
        action
    }

    /// Where commands of this scope may connect to, in words, before anything is known of the place.
    pub fn reaches(&self) -> Vec<String> {
        let mut all: Vec<String> = self.reach.network.iter().map(ToString::to_string).collect();
        for profile in self.commands.prefixes().iter().flat_map(super::command::Prefix::profiles) {
            for need in &profile.needs().network {
                let words = match need.as_str() {
                    "@arguments" => "the server that the command names".to_owned(),
                    "@config" => format!("the server that `{}` is configured for", profile.name()),
                    "@kubeconfig" => "the server of the kubeconfig's context".to_owned(),
                    endpoint => endpoint.to_owned(),
                };
                push(&mut all, words);
            }
        }
        all
    }

    /// What commands of this scope may read beyond their working directory, in words.
    pub fn reads(&self) -> Vec<String> {
        let mut all = self.reach.reads.clone();
        for profile in self.commands.prefixes().iter().flat_map(super::command::Prefix::profiles) {
            let needs = profile.needs();
            if needs.network.iter().any(|need| need == "@kubeconfig") {
                push(&mut all, "one kubeconfig context".to_owned());
            }
            for file in needs.files.iter().filter(|file| !needs.is_kubeconfig(file)) {
                let words = match file.split_once(':').map_or(file.as_str(), |(name, _)| name) {
                    "@aws" => "one AWS profile",
                    "@gcloud" => "one gcloud account",
                    "@azure" => "one Azure subscription",
                    path => path,
                };
                push(&mut all, words.to_owned());
            }
        }
        all
    }

    /// Which programs commands of this scope may start in turn.
    pub fn starts(&self) -> Vec<String> {
        let mut all = self.reach.also_runs.clone();
        for prefix in self.commands.prefixes() {
            for (index, profile) in prefix.profiles().iter().enumerate() {
                if index > 0 {
                    push(&mut all, profile.name().to_owned());
                }
                profile.also_runs().iter().for_each(|name| push(&mut all, name.clone()));
            }
        }
        all
    }

    fn add_needs(&self, profile: &Profile, action: &mut ShellAction) {
        let needs = profile.needs();
        for name in needs.env.iter().filter(|name| check_env_name("env", name).is_ok()) {
            push(&mut action.env, name.clone());
        }
        let argv = action.command.argv().to_vec();
        for need in profile.needs().places(&argv) {
            match need {
                "@arguments" => {
                    for server in servers_granted(&self.commands, &argv) {
                        push(&mut action.network, server);
                    }
                }
                "@config" => match server_by_flags(&argv) {
                    Some(server) => push(&mut action.network, server),
                    None => self.add_found(profile.name(), None, action),
                },
                other => match other.parse() {
                    Ok(endpoint) => push(&mut action.network, endpoint),
                    // A program that isn't configured says so by itself when it is run.
                    Err(_) => self.add_found(other, choice(other, &argv), action),
                },
            }
        }
    }

    fn add_found(&self, need: &str, choice: Option<String>, action: &mut ShellAction) {
        let mut found = self.found.iter();
        let Some(found) = found.find(|found| found.need == need && found.choice == choice) else {
            return;
        };
        for endpoint in &found.network {
            push(&mut action.network, endpoint.clone());
        }
        if let Some(credential) = &found.credential {
            push(&mut action.credentials, credential.clone());
        }
    }
}

/// Which of several kubeconfig contexts, cloud profiles or accounts a command names, as
/// `flag=value` pairs; `None` when it names none.
pub fn choice(need: &str, words: &[String]) -> Option<String> {
    let flags: &[&str] = match need {
        "@kubeconfig" => &["--context", "--kube-context"],
        "@aws" => &["--profile"],
        "@gcloud" => &["--configuration", "--account"],
        "@azure" => &["--subscription"],
        _ => return None,
    };
    let named = flags.iter().filter_map(|flag| Some((flag, value_of(words, flag)?)));
    let pairs: Vec<String> = named
        .map(|(flag, value)| match *flag {
            "--kube-context" => format!("context={value}"),
            flag => format!("{}={value}", flag.trim_start_matches('-')),
        })
        .collect();
    (!pairs.is_empty()).then(|| pairs.join(" "))
}

/// The value that a long flag has in a command, as the next word or behind `=`.
pub fn value_of<'w>(words: &'w [String], flag: &str) -> Option<&'w str> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(flag) {
            Some("") => return words.next().map(String::as_str),
            Some(rest) => {
                if let Some(value) = rest.strip_prefix('=') {
                    return Some(value);
                }
            }
            None => {}
        }
    }
    None
}

/// The servers that stand among a command's words, for a program that connects to what it is told. Where
/// the token's prefixes name servers, no others are meant: a URL that is only a value opens nothing.
fn servers_granted(commands: &CommandScope, argv: &[String]) -> Vec<Endpoint> {
    let program = argv.first().map(String::as_str).unwrap_or_default();
    let prefixes = commands.prefixes().iter().filter(|prefix| prefix.program() == program);
    let named = prefixes.flat_map(|prefix| {
        // Only with its path begun is the host of a URL whole.
        let whole =
            |text: &&str| text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let open = prefix.open_text().filter(whole).and_then(server_of);
        servers_of(prefix.words()).into_iter().chain(open)
    });
    let named: Vec<Endpoint> = named.collect();
    let mut all = servers_of(argv);
    if !named.is_empty() {
        all.retain(|server| named.contains(server));
    }
    all
}

fn servers_of(words: &[String]) -> Vec<Endpoint> {
    words.iter().skip(1).filter_map(|word| server_of(word)).collect()
}

/// The server that a word leads to: a URL, or `user@host` and `host:path` as ssh and its kin write it.
fn server_of(word: &str) -> Option<Endpoint> {
    if word.contains("://") {
        let url = Url::parse(word).ok()?;
        let known = match url.scheme() {
            "ssh" | "scp" | "sftp" => Some(22),
            "rsync" => Some(873),
            "postgres" | "postgresql" => Some(5432),
            "mysql" => Some(3306),
            "mongodb" => Some(27017),
            "redis" => Some(6379),
            _ => url.port_or_known_default(),
        };
        return Endpoint::from_str(&format!("{}:{}", url.host_str()?, url.port().or(known)?)).ok();
    }
    let (_, rest) = word.split_once('@')?;
    let host = rest.split_once(':').map_or(rest, |(host, _)| host);
    Endpoint::from_str(&format!("{host}:22")).ok()
}

/// The server that a database's client is told by its flags or by a URL.
fn server_by_flags(argv: &[String]) -> Option<Endpoint> {
    if let Some(server) =
        argv.iter().skip(1).filter(|word| word.contains("://")).find_map(|word| server_of(word))
    {
        return Some(server);
    }
    let host = value_of(argv, "--host").or_else(|| short_value(argv, "-h"))?;
    let mysql = ["mysql", "mysqldump", "mariadb"];
    let (port_flag, usual) = match argv.first().map(String::as_str) {
        Some(name) if mysql.contains(&name) => ("-P", "3306"),
        Some("redis-cli") => ("-p", "6379"),
        _ => ("-p", "5432"),
    };
    let port = value_of(argv, "--port").or_else(|| short_value(argv, port_flag)).unwrap_or(usual);
    Endpoint::from_str(&format!("{host}:{port}")).ok()
}

/// The value of a short flag that stands by itself or has its value attached.
fn short_value<'w>(words: &'w [String], flag: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| word.starts_with(flag))?;
    match words.get(at)?.strip_prefix(flag)? {
        "" => words.get(at + 1).map(String::as_str),
        value => Some(value),
    }
}

fn push<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;
    use crate::token::ShellToken;

    fn action(allowed: &str, found: Vec<Found>, line: &str) -> ShellAction {
        let token = ShellToken::new("t", [allowed]).network("own.test:1").build().unwrap();
        let Scope::Shell(scope) = token.scope() else { panic!("not a shell") };
        let scope = ShellScope { found, ..scope.clone() };
        scope.action(Command::parse(line).unwrap())
    }

    fn network(allowed: &str, line: &str) -> Vec<String> {
        let found = Found {
            need: "psql".to_owned(),
            choice: None,
            network: vec!["db.test:5433".parse().unwrap()],
            credential: None,
        };
        let action = action(allowed, vec![found], line);
        action.network.iter().skip(1).map(ToString::to_string).collect()
    }

    #[test]
    fn a_command_reaches_what_its_words_and_its_prefix_say() {
        for (allowed, line, expected) in [
            ("ls", "ls /", &[][..]),
            ("curl", "curl https://a.test/x", &["a.test:443"]),
            ("curl", "curl http://a.test:81/ http://b.test", &["a.test:81", "b.test:80"]),
            // What the prefix names is all that is meant.
            (
                "curl 'https://a.test/",
                "curl https://a.test/x -e https://evil.test/",
                &["a.test:443"],
            ),
            ("curl https://a.test/", "curl https://a.test/ -e https://evil.test/", &["a.test:443"]),
            ("timeout 5 curl", "timeout 5 curl https://a.test/", &["a.test:443"]),
            ("ssh ops@host.test uptime", "ssh ops@host.test uptime", &["host.test:22"]),
            ("rsync", "rsync -a ops@host.test:/var/x out", &["host.test:22"]),
            ("psql -c 'SELECT", "psql -c 'SELECT 1'", &["db.test:5433"]),
            ("psql -h other.test -c", "psql -h other.test -c 'SELECT 1'", &["other.test:5432"]),
            ("psql --host=o.test -p 7 -c", "psql --host=o.test -p 7 -c 'SELECT 1'", &["o.test:7"]),
            (
                "psql postgres://u.test/d -c",
                "psql postgres://u.test/d -c 'SELECT 1'",
                &["u.test:5432"],
            ),
            ("aws s3 ls", "aws s3 ls", &["*.amazonaws.com:443"]),
        ] {
            assert_eq!(network(allowed, line), expected, "{line}");
        }
    }

    #[test]
    fn what_was_found_belongs_to_the_choice_that_is_named() {
        let found = |choice: Option<&str>, at: &str| Found {
            need: "@kubeconfig".to_owned(),
            choice: choice.map(ToOwned::to_owned),
            network: vec![at.parse().unwrap()],
            credential: Some(format!("user of {at}")),
        };
        let all = || vec![found(None, "a.test:6443"), found(Some("context=b"), "b.test:6443")];
        let of = |line: &str| action("kubectl get pods --context", all(), line);
        let b = of("kubectl get pods --context=b");
        assert_eq!(b.network[1].to_string(), "b.test:6443");
        assert_eq!(b.credentials, ["user of b.test:6443"]);
        assert_eq!(of("kubectl get pods --context c").credentials, Vec::<String>::new());
        let plain = action("kubectl get pods", all(), "kubectl get pods");
        assert_eq!(plain.credentials, ["user of a.test:6443"]);
        assert!(plain.env.contains(&"KUBECONFIG".to_owned()), "{:?}", plain.env);
    }

    #[test]
    fn choices_are_read_from_flags() {
        let of = |need: &str, line: &str| {
            choice(need, &line.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(of("@kubeconfig", "kubectl get pods"), None);
        assert_eq!(of("@kubeconfig", "kubectl --context p get").as_deref(), Some("context=p"));
        assert_eq!(of("@kubeconfig", "helm --kube-context=a list").as_deref(), Some("context=a"));
        assert_eq!(of("@kubeconfig", "kubectl --contexts=x"), None);
        assert_eq!(of("@aws", "aws --profile p s3 ls").as_deref(), Some("profile=p"));
        let both = of("@gcloud", "gcloud --account=a --configuration c x");
        assert_eq!(both.as_deref(), Some("configuration=c account=a"));
    }
}
