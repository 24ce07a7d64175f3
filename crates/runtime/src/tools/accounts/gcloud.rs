//! One Google Cloud account, as `gcloud` keeps it: the properties of one configuration, and a token that
//! is good for an hour. The account's lasting credentials stay with the operator.

use std::path::PathBuf;
use std::time::Duration;

use lar_core::redact::Redactor;

use super::ini::{self, Section};
use super::{Account, Operator, read_text, servers};
use crate::confine::Surroundings;
use crate::stop::Stop;
use crate::tools::child::{self, How, Order, Ran};
use crate::tools::programs::Programs;

/// How long asking for a token may take.
const TIMEOUT: Duration = Duration::from_secs(60);

const WITHOUT: &[&str] = &[
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_CORE_ACCOUNT",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Finds the configuration and account that are chosen.
pub(super) async fn find(
    choice: Option<&str>,
    operator: &Operator,
    programs: &Programs,
) -> Account {
    let chosen = |flag: &str| {
        let mut pairs =
            choice.unwrap_or_default().split(' ').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(name, value)| (name == flag).then(|| value.to_owned()))
    };
    let directory = operator.file("CLOUDSDK_CONFIG", ".config/gcloud").unwrap_or_default();
    let active = || read_text(&directory.join("active_config")).map(|text| text.trim().to_owned());
    let by_variable = || operator.var("CLOUDSDK_ACTIVE_CONFIG_NAME").map(ToOwned::to_owned);
    let name = chosen("configuration").or_else(by_variable).or_else(active);
    let name = name.filter(|name| is_plain(name)).unwrap_or_else(|| "default".to_owned());
    let file = directory.join("configurations").join(format!("config_{name}"));
    let sections = ini::read(&read_text(&file).unwrap_or_default());
    let empty = Section::default();
    let core = ini::section(&sections, "core").unwrap_or(&empty);
    let account = chosen("account")
        .or_else(|| operator.var("CLOUDSDK_CORE_ACCOUNT").map(ToOwned::to_owned))
        .or_else(|| core.get("account").map(ToOwned::to_owned));

    let mut properties = String::new();
    for section in &sections {
        // Whatever says who one is, or keeps what others may read.
        let left_out: &[&str] = match section.heading.as_str() {
            "auth" => &["access_token", "credential_", "impersonate", "login", "service_account"],
            "core" => &["account", "log_http"],
            _ => &[],
        };
        properties.push_str(&section.without(&section.heading, left_out));
    }
    let overrides = ini::section(&sections, "api_endpoint_overrides");
    let mut urls = overrides.map(|found| found.urls(true)).unwrap_or_default();
    urls.extend(
        ini::section(&sections, "storage").and_then(|s| s.get("s3_endpoint_url")).map(Into::into),
    );
    let urls = urls.iter().filter_map(|url| url::Url::parse(url).ok());

    let mut files: Vec<(PathBuf, secrecy::SecretString)> = vec![
        (format!(".config/gcloud/configurations/config_{name}").into(), properties.into()),
        (".config/gcloud/active_config".into(), name.clone().into()),
    ];
    let mut env = vec![
        ("CLOUDSDK_CONFIG", "{home}/.config/gcloud".to_owned()),
        ("CLOUDSDK_ACTIVE_CONFIG_NAME", name.clone()),
    ];
    env.extend(account.clone().map(|account| ("CLOUDSDK_CORE_ACCOUNT", account)));
    let who = account.as_deref().unwrap_or("none");
    let mut secrets = Vec::new();
    let credential = match token(&name, account.as_deref(), operator, programs).await {
        Ok(token) => {
            files.push((".config/gcloud/token".into(), token.clone().into()));
            env.push(("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "{home}/.config/gcloud/token".to_owned()));
            secrets.push(token);
            format!("gcloud configuration `{name}`, account `{who}`, for an hour")
        }
        Err(why) => format!("gcloud configuration `{name}`, without credentials: {why}"),
    };
    Account {
        network: urls.filter_map(|url| servers::endpoint(&url)).collect(),
        files,
        env,
        without: WITHOUT,
        credential,
        secrets,
    }
}

/// Asks `gcloud`, under the operator's authority, for a token of the account.
async fn token(
    name: &str,
    account: Option<&str>,
    operator: &Operator,
    programs: &Programs,
) -> Result<String, String> {
    let mut argv: Vec<String> =
        ["gcloud", "auth", "print-access-token", "--quiet", "--configuration", name]
            .map(ToOwned::to_owned)
            .into();
    argv.extend(account.map(ToOwned::to_owned));
    let env = operator.plain(programs);
    let workdir = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let around = Surroundings::default();
    let order = Order { argv, env, workdir, timeout: TIMEOUT, around };
    match child::run(programs, &Redactor::default(), None, None, &Stop::default(), order).await {
        Ran::NeverBegan(why) => Err(why),
        Ran::Ended(end) if matches!(end.how, How::Exited(0)) => {
            let token = end.stdout.text.trim();
            let whole = !token.is_empty() && !token.contains(char::is_whitespace);
            whole.then(|| token.to_owned()).ok_or_else(|| "`gcloud` gave no token".to_owned())
        }
        Ran::Ended(_) => Err("`gcloud auth print-access-token` failed; run it by hand".to_owned()),
    }
}

/// A name of a configuration, which becomes part of a path.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::tests::operator;
    use super::*;
    use secrecy::ExposeSecret;

    #[tokio::test]
    async fn one_configuration_is_taken_and_no_lasting_credential() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".config/gcloud/configurations");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(home.path().join(".config/gcloud/active_config"), "work\n").unwrap();
        let work = "[core]\naccount = me@work.test\nproject = p1\n[auth]\ncredential_file_override = /k\n\
            disable_ssl_validation = false\n[api_endpoint_overrides]\nstorage = http://127.0.0.1:9/\n";
        std::fs::write(directory.join("config_work"), work).unwrap();
        let other = "[core]\naccount = me@other.test\nproject = p2\n";
        std::fs::write(directory.join("config_other"), other).unwrap();
        let programs = Programs::new("/nowhere".as_ref());
        let of = async |choice: Option<&str>| {
            let account = find(choice, &operator(home.path(), &[]), &programs).await;
            let files = account.files.iter().map(|(_, text)| text.expose_secret());
            let text = files.collect::<Vec<_>>().join("");
            let who = account.env.iter().find(|(name, _)| *name == "CLOUDSDK_CORE_ACCOUNT");
            let text = format!("{text}\naccount = {}", who.map_or("", |(_, who)| who.as_str()));
            (account, text)
        };
        let (account, text) = of(None).await;
        assert_eq!(account.network, ["127.0.0.1:9".parse().unwrap()]);
        assert!(text.contains("project = p1") && text.contains("account = me@work.test"), "{text}");
        assert!(
            !text.contains("other.test") && !text.contains("credential_file_override"),
            "{text}"
        );
        assert!(account.credential.contains("without credentials"), "{}", account.credential);
        let (account, text) = of(Some("configuration=other account=you@other.test")).await;
        assert!(text.contains("account = you@other.test") && !text.contains("p1"), "{text}");
        assert!(account.credential.contains("`other`"), "{}", account.credential);
        // A name that leads out of the directory is none.
        assert!(of(Some("configuration=../../x")).await.0.credential.contains("`default`"));
    }
}
