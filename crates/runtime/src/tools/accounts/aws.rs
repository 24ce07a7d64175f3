//! One AWS profile (<https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>): its
//! region and other plain settings, and credentials that belong to it alone. What has to be asked for,
//! by a program that the profile names or by `aws` itself (roles, single sign-on), is asked for here.

use std::ffi::OsString;
use std::time::Duration;

use lar_core::redact::Redactor;
use secrecy::SecretString;
use serde_json::Value;

use super::ini::{self, Section};
use super::{Account, Operator, read_text, servers};
use crate::confine::Surroundings;
use crate::stop::Stop;
use crate::tools::child::{self, How, Order, Ran};
use crate::tools::programs::Programs;

/// How long asking for credentials may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a child would take instead of the files that it is given.
const WITHOUT: &[&str] = &[
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Settings that lead to credentials or to programs.
const SENSITIVE: [&str; 12] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "role_",
    "source_profile",
    "credential_",
    "sso_",
    "mfa_serial",
    "web_identity_",
    "external_id",
    "services",
    "cli_history",
];

struct Keys {
    id: String,
    secret: String,
    session: Option<String>,
}

/// Finds the profile that is chosen, or the one that the operator's settings choose.
pub(super) async fn find(
    choice: Option<&str>,
    operator: &Operator,
    programs: &Programs,
) -> Account {
    let read = |variable, beneath| {
        let text = operator.file(variable, beneath).and_then(|path| read_text(&path));
        ini::read(&text.unwrap_or_default())
    };
    let config = read("AWS_CONFIG_FILE", ".aws/config");
    let credentials = read("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let named = choice.and_then(|choice| choice.strip_prefix("profile="));
    let by_variable = operator.var("AWS_PROFILE").or_else(|| operator.var("AWS_DEFAULT_PROFILE"));
    let name = named.or(by_variable).unwrap_or("default").to_owned();
    let heading = match name.as_str() {
        "default" => name.clone(),
        name => format!("profile {name}"),
    };
    let empty = Section::default();
    let section = ini::section(&config, &heading).unwrap_or(&empty);
    let held = ini::section(&credentials, &name).unwrap_or(&empty);
    let services = section.get("services").map(|name| format!("services {name}"));
    let services = services.and_then(|heading| ini::section(&config, &heading));

    let keys = match from_variables(operator).filter(|_| named.is_none()) {
        Some(keys) => Ok(keys),
        None => keys_of(&name, section, held, operator, programs).await,
    };
    let mut settings = section.without(&heading, &SENSITIVE);
    if let (Some(found), Some(name)) = (services, section.get("services")) {
        settings.push_str(&format!("services = {name}\n"));
        settings.push_str(&found.without(&found.heading, &[]));
    }
    let mut account = Account {
        env: vec![
            ("AWS_CONFIG_FILE", "{home}/.aws/config".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "{home}/.aws/credentials".to_owned()),
            ("AWS_PROFILE", name.clone()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ],
        without: WITHOUT,
        files: vec![(".aws/config".into(), settings.into())],
        ..Account::default()
    };
    let mut urls = section.urls(false);
    urls.extend(services.into_iter().flat_map(|found| found.urls(false)));
    urls.extend(operator.var("AWS_ENDPOINT_URL").map(ToOwned::to_owned));
    let urls = urls.iter().filter_map(|url| url::Url::parse(url).ok());
    account.network = urls.filter_map(|url| servers::endpoint(&url)).collect();
    match keys {
        Ok(keys) => {
            let mut text = format!(
                "[{name}]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                keys.id, keys.secret
            );
            if let Some(session) = &keys.session {
                text.push_str(&format!("aws_session_token = {session}\n"));
            }
            account.credential = format!("aws profile `{name}`, access key `{}`", keys.id);
            account.files.push((".aws/credentials".into(), SecretString::from(text)));
            account.secrets.push(keys.secret);
            account.secrets.extend(keys.session);
        }
        Err(why) => {
            account.credential = format!("aws profile `{name}`, without credentials: {why}");
        }
    }
    account
}

fn from_variables(operator: &Operator) -> Option<Keys> {
    Some(Keys {
        id: operator.var("AWS_ACCESS_KEY_ID")?.to_owned(),
        secret: operator.var("AWS_SECRET_ACCESS_KEY")?.to_owned(),
        session: operator.var("AWS_SESSION_TOKEN").map(ToOwned::to_owned),
    })
}

/// The keys of a profile: those that stand there, or what gives them.
async fn keys_of(
    name: &str,
    section: &Section,
    held: &Section,
    operator: &Operator,
    programs: &Programs,
) -> Result<Keys, String> {
    let assumes = ["role_arn", "sso_account_id", "sso_session", "web_identity_token_file"];
    if !assumes.iter().any(|key| section.get(key).or(held.get(key)).is_some()) {
        for place in [held, section] {
            if let (Some(id), Some(secret)) =
                (place.get("aws_access_key_id"), place.get("aws_secret_access_key"))
            {
                let session = place.get("aws_session_token").map(ToOwned::to_owned);
                return Ok(Keys { id: id.to_owned(), secret: secret.to_owned(), session });
            }
        }
        let process = section.get("credential_process").or(held.get("credential_process"));
        if let Some(line) = process {
            let command = lar_core::scope::command::Command::parse(line)
                .map_err(|_| "its `credential_process` needs a shell".to_owned())?;
            return ask(command.argv().to_vec(), operator, programs).await;
        }
        if section == &Section::default() && held == &Section::default() {
            return Err("it is not configured".to_owned());
        }
    }
    let argv = ["aws", "configure", "export-credentials", "--profile", name, "--format", "process"];
    ask(argv.map(ToOwned::to_owned).to_vec(), operator, programs).await
}

/// Runs a program that gives credentials, under the operator's authority.
async fn ask(argv: Vec<String>, operator: &Operator, programs: &Programs) -> Result<Keys, String> {
    let program = argv.first().cloned().unwrap_or_default();
    let failed = |why: &str| format!("`{program}` {why}");
    let env: Vec<(OsString, OsString)> = operator.plain(programs);
    let workdir = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let around = Surroundings::default();
    let order = Order { argv, env, workdir, timeout: TIMEOUT, around };
    // The credentials become known by this very answer, which goes nowhere else.
    let ran = child::run(programs, &Redactor::default(), None, None, &Stop::default(), order).await;
    let text = match ran {
        Ran::NeverBegan(why) => return Err(failed(&format!("can't be run: {why}"))),
        Ran::Ended(end) if matches!(end.how, How::Exited(0)) => end.stdout.text,
        Ran::Ended(_) => {
            return Err(failed("gave no credentials; run it by hand to see why"));
        }
    };
    let given: Value =
        serde_json::from_str(&text).map_err(|_| failed("did not answer with credentials"))?;
    let word = |key: &str| given.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    match (word("AccessKeyId"), word("SecretAccessKey")) {
        (Some(id), Some(secret)) => Ok(Keys { id, secret, session: word("SessionToken") }),
        _ => Err(failed("did not answer with credentials")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::operator;
    use super::*;
    use secrecy::ExposeSecret;
    use std::os::unix::fs::PermissionsExt;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile read]\nregion = eu-central-1\n\
        services = local\n[profile assumed]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\n\
        [profile asked]\ncredential_process = ./plugin --for read\n\
        [services local]\ns3 =\n  endpoint_url = http://127.0.0.1:9000\n[plugins]\ncli = evil\n";
    const CREDENTIALS: &str = "[default]\naws_access_key_id = AKIADEFAULT\n\
        aws_secret_access_key = the-default-secret\n[read]\naws_access_key_id = AKIAREAD\n\
        aws_secret_access_key = the-reading-secret\naws_session_token = the-session\n";

    async fn found(choice: Option<&str>, more: &[(&str, &str)]) -> (Account, String) {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let plugin = home.path().join("plugin");
        std::fs::write(&plugin, "#!/bin/sh\necho '{}'\n").unwrap();
        std::fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        let programs = Programs::new("/usr/bin:/bin".as_ref());
        let account = find(choice, &operator(home.path(), more), &programs).await;
        let files = account.files.iter().map(|(_, text)| text.expose_secret());
        let text = files.collect::<Vec<_>>().join("");
        (account, text)
    }

    #[tokio::test]
    async fn one_profile_is_taken_and_nothing_of_the_others() {
        let (account, text) = found(Some("profile=read"), &[]).await;
        assert_eq!(account.credential, "aws profile `read`, access key `AKIAREAD`");
        assert_eq!(account.network, ["127.0.0.1:9000".parse().unwrap()]);
        assert_eq!(account.secrets, ["the-reading-secret", "the-session"]);
        assert!(
            text.contains("[profile read]\nregion = eu-central-1\nservices = local\n"),
            "{text}"
        );
        for foreign in
            ["AKIADEFAULT", "the-default-secret", "eu-west-1", "role_arn", "plugins", "evil"]
        {
            assert!(!text.contains(foreign), "{foreign}: {text}");
        }
    }

    #[tokio::test]
    async fn the_operator_s_variables_choose_where_the_command_does_not() {
        let (account, _) = found(None, &[]).await;
        assert_eq!(account.credential, "aws profile `default`, access key `AKIADEFAULT`");
        let (account, text) = found(None, &[("AWS_PROFILE", "read")]).await;
        assert!(account.credential.contains("`read`") && !text.contains("AKIADEFAULT"));
        let keys =
            [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "from-the-variable")];
        let (account, text) = found(None, &keys).await;
        assert!(account.credential.contains("AKIAENV") && !text.contains("the-default"), "{text}");
        // A profile that the command names comes before variables.
        let (account, _) = found(Some("profile=read"), &keys).await;
        assert!(account.credential.contains("AKIAREAD"), "{}", account.credential);
        assert!(account.without.contains(&"AWS_SECRET_ACCESS_KEY"));
    }

    #[tokio::test]
    async fn what_can_not_be_had_is_said() {
        let (account, text) = found(Some("profile=none"), &[]).await;
        assert!(account.credential.contains("without credentials: it is not configured"));
        assert!(!text.contains("AKIA"), "{text}");
        let (account, text) = found(Some("profile=assumed"), &[]).await;
        assert!(
            account.credential.contains("without credentials: `aws` "),
            "{}",
            account.credential
        );
        assert!(!text.contains("the-default-secret"), "the source's keys stay with the operator");
    }

    #[tokio::test]
    async fn a_process_is_asked_once_under_the_operator_s_authority() {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let plugin = home.path().join("plugin");
        let answer = r#"{"Version":1,"AccessKeyId":"ASIAX","SecretAccessKey":"given-once","SessionToken":"sess"}"#;
        std::fs::write(&plugin, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
        std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = home.path().join("config");
        std::fs::write(&config, format!("[default]\ncredential_process = {}\n", plugin.display()))
            .unwrap();
        let programs = Programs::new("/usr/bin:/bin".as_ref());
        let more = [("AWS_CONFIG_FILE", config.to_str().unwrap())];
        let account = find(None, &operator(home.path(), &more), &programs).await;
        // Without the launcher of a real program nothing can be started in this test's process; the
        // program says so, and nothing is made up.
        assert!(
            account.credential.contains("plugin` can't be run")
                || account.secrets[0] == "given-once"
        );
        let settings = account.files[0].1.expose_secret();
        assert!(!settings.contains("credential_process"), "{settings}");
    }
}
